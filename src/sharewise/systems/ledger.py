"""The ledger: one JSON a system with what `sharewise reproduce` found, refuted claims included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import RunError
from ..files import write_text
from ._result import JudgedClaim, Result

BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"
"""The table in a README stands between these two lines."""


def path_of(id: str, folder: Path | str = "ledger") -> Path:
    """Where the result of the system ``id`` is kept."""
    return Path(folder) / f"{id}.json"


def write(result: Result, folder: Path | str = "ledger") -> Path:
    """Enter ``result``, in place of an earlier one of the same system; returns the file."""
    path = path_of(result.id, folder)
    result.save(path)
    return path


def read_all(folder: Path | str = "ledger") -> list[Result]:
    """All results in ``folder`` by id; none where there is no folder; :class:`RunError` on a broken file."""
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        result = Result.load(path)
        if result.id != path.stem:
            raise RunError(f'"{path}" holds the result of "{result.id}": rename it to {result.id}.json')
        found.append(result)
    return found


def percent(claim: JudgedClaim, value: float) -> str:
    """An effect as text: relative ones in per cent."""
    relative = claim.relative and claim.versus is not None
    return f"{100 * value:+.1f} %" if relative else f"{value:+.4g}" if claim.versus else f"{value:.4g}"


def expected(claim: JudgedClaim) -> str:
    """What the claim says about the effect, as text: ``>= +35.0 %``."""
    if claim.within is not None:
        return f"within ±{percent(claim, claim.within).lstrip('+')}"
    if claim.kind != "bound":
        return f">= {percent(claim, claim.margin)}"
    bounds = ((">=", claim.at_least), ("<=", claim.at_most))
    return " and ".join(f"{sign} {percent(claim, bound)}" for sign, bound in bounds if bound is not None)


def interval(claim: JudgedClaim) -> str:
    """Effect and interval as text: ``+47.3 % [+46.1 %, +48.5 %]``."""
    effect = percent(claim, claim.effect)
    if claim.ci95 is None:
        return effect
    return f"{effect} [{percent(claim, claim.ci95[0])}, {percent(claim, claim.ci95[1])}]"


def summary(result: Result) -> str:
    """The verdicts counted: ``4 reproduced, 1 refuted``."""
    counts = Counter[str](c.verdict for c in result.claims)
    words = ("reproduced", "direction only", "inconclusive", "refuted", "too few seeds")
    return ", ".join(f"{counts[word]} {word}" for word in words if counts[word])


def render_table(results: Sequence[Result]) -> str:
    """A Markdown table, one row a system; claims that did not hold are quoted with what was found."""
    lines = ["| system | data | scale, seeds | claims |", "|---|---|---|---|"]
    for result in results:
        missed = [
            f"*{claim.verdict}*: {claim.text} (claimed {expected(claim)}, found {interval(claim)})"
            for claim in result.claims
            if claim.verdict != "reproduced"
        ]
        reading = "" if result.reading == "faithful" else ", our reading"
        cells = (
            f"[`{result.id}`]({result.paper}) {result.title}{reading}",
            result.data.partition(":")[0],
            f"{result.scale}, {len(result.seeds)}",
            "<br>".join([summary(result), *missed]),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def update_readme(path: Path | str, results: Sequence[Result]) -> bool:
    """Replace the table between the two markers in the file; returns whether anything changed.

    Raises :class:`RunError` where the file or the markers are missing (the file is then left as it was).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f'no file "{path}" to write the ledger\'s table into') from None
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise RunError(f'"{path}" has no place for the table: add the lines {BEGIN} and {END}')
    # Blank lines: some readers of Markdown take a table that touches a comment for part of it.
    new = f"{head}{BEGIN}\n\n{render_table(results)}\n{END}{tail}"
    if new == text:
        return False
    write_text(path, new)
    return True
