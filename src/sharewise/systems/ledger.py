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
PAGE = "docs/ledger.md"
"""Where the README's table looks for the page of all claims."""
VERDICTS = ("reproduced", "direction only", "inconclusive", "refuted")
INTRODUCTION = """# The ledger

What was found of each published claim: the mean effect over seeds with its 95 % interval, and the verdict that
[follows from them](systems.md#how-a-claim-becomes-a-verdict). Written by `sharewise ledger --page docs/ledger.md` from
the JSON files in `ledger/`, which hold every arm's metrics under every seed.
"""


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
    """An effect as text: relative ones in per cent; what is zero but for rounding is zero."""
    value = round(value, 12) + 0.0  # no -0
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
    counts = Counter[str](claim.verdict for claim in result.claims)
    return ", ".join(f"{counts[word]} {word}" for word in (*VERDICTS, "too few seeds") if counts[word])


def render_table(results: Sequence[Result]) -> str:
    """A Markdown table for a README: one row a system, its verdicts counted, a link to its claims on the page."""
    lines = [_row("system", "data", "scale, seeds", *VERDICTS), _row(*["---"] * 3, *["--:"] * len(VERDICTS))]
    for result in results:
        counts = Counter[str](claim.verdict for claim in result.claims)
        reading = "" if result.reading == "faithful" else ", our reading"
        lines.append(
            _row(
                f"[`{result.id}`]({PAGE}#{result.id}) [{result.title}]({result.paper}){reading}",
                result.data.partition(":")[0],
                f"{result.scale}, {len(result.seeds)}",
                *(str(counts[verdict] or "") for verdict in VERDICTS),
            )
        )
    return "\n".join(lines) + "\n"


def render_page(results: Sequence[Result]) -> str:
    """A Markdown page: every claim with what was claimed, what was found and the verdict; remarks; assumptions."""
    return "\n".join([INTRODUCTION, *(_section(result) for result in results)])


def _section(result: Result) -> str:
    reading = "faithful to the paper" if result.reading == "faithful" else "our reading of the paper"
    lines = [
        f"## {result.id}",
        "",
        f"{result.title} ([paper]({result.paper}); {reading}). Scale {result.scale}, {len(result.seeds)} seeds. "
        f"Data {result.data}.",
        "",
        _row("claim", "claimed", "found", "verdict"),
        _row(*["---"] * 4),
        *(_row(c.text, expected(c), interval(c), f"**{c.verdict}**") for c in result.claims),
        "",
    ]
    for title, sentences in (("Remarks", result.remarks), ("Assumptions", result.assumptions)):
        if sentences:
            lines += [f"{title}:", "", *(f"- {sentence}" for sentence in sentences), ""]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


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
