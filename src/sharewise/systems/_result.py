"""What a reproduction found, as data: what is printed, and what the ledger keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..errors import RunError
from ..files import write_text
from ._claim import Better, Claim, Evidence
from ._registry import Scale
from ._verdict import Verdict, judge


class JudgedClaim(BaseModel):
    """A claim, the effect found, and the verdict; the fields of :class:`Claim` come along as they were."""

    model_config = ConfigDict(extra="forbid")

    text: str
    metric: str
    arm: str
    versus: str | None
    better: Better
    relative: bool
    kind: Literal["gain", "non-inferiority", "equivalence", "bound"]
    margin: float
    within: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    effect: float
    ci95: tuple[float, float] | None
    verdict: Verdict

    @property
    def claim(self) -> Claim:
        """The claim alone."""
        return Claim(**{name: getattr(self, name) for name in Claim.__dataclass_fields__})


class Result(BaseModel):
    """A system's arms over seeds and the verdicts on its claims."""

    model_config = ConfigDict(extra="forbid")

    id: str
    title: str
    scale: Scale
    seeds: list[int]
    arms: dict[str, dict[str, list[float]]]
    """Arm -> metric -> one value a seed, in the order of ``seeds``."""
    claims: list[JudgedClaim]
    seconds: float
    """Wall time of the whole run."""
    jobs: int
    family: str
    data: str
    paper: str
    evidence: Evidence
    reading: Literal["ours", "faithful"]
    assumptions: list[str]
    remarks: list[str]
    versions: dict[str, str]

    @property
    def refuted(self) -> bool:
        """Whether any claim is refuted."""
        return any(c.verdict == "refuted" for c in self.claims)

    def to_json(self) -> str:
        """JSON text; the values of a metric stand on one line."""
        text = self.model_dump_json(indent=1)
        return re.sub(r"\[\s+([-+.\de,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"

    def save(self, path: Path | str) -> None:
        """Write as JSON, atomically."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> Result:
        """Read what :meth:`save` wrote; raises :class:`RunError` where it is something else."""
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f'no result at "{path}": run `sharewise reproduce ID --ledger` first') from None
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f'"{path}" is not the result of a reproduction: {reason}') from None


def judged(claim: Claim, arms: dict[str, dict[str, list[float]]]) -> JudgedClaim:
    """The verdict on ``claim`` from the numbers of all arms."""
    versus = None if claim.versus is None else arms[claim.versus][claim.metric]
    effect, ci95, verdict = judge(claim, arms[claim.arm][claim.metric], versus)
    fields: dict[str, Any] = claim.to_dict()
    return JudgedClaim(**fields, effect=effect, ci95=ci95, verdict=verdict)
