"""The page itself, and the bill's two files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files import write_json, write_text
from ...page import clean, number, share
from ...page import render as render_page
from .._evaluate import MERGED
from .._folder import BILL, PAGE
from ._levels import Numbers, known_numbers, level_tables, models_table, pairs
from ._maps import MAPS, cosines_figure, layers_figure
from ._scores import best_before, scores_of, scores_table


def write_bill(bill: Mapping[str, Any], folder: Path | str) -> None:
    """Write the bill into ``folder``, as JSON and as a page, each atomically; raises :class:`OSError` where that
    fails."""
    page = render(bill)
    write_json(Path(folder) / BILL, bill)
    write_text(Path(folder) / PAGE, page)


def render(bill: Mapping[str, Any]) -> str:
    """The bill as one HTML page that needs no network (see :func:`sharewise.page.render`)."""
    merged = bill["total"] is not None
    figures = {"layers": layers_figure(bill), "cosines": cosines_figure(bill)} if merged else {}
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    return render_page(
        Path(__file__).parent,
        "merge.html.j2",
        drawn.values(),
        bill=bill,
        heading=_heading(bill["models"]),
        sentence=_sentence(bill) if merged else "Nothing was merged: every tensor is carried over from one model.",
        facts=_facts(bill) if merged else [],
        figures=drawn,
        most_maps=MAPS,
        models=models_table(bill) if merged else None,
        scores=scores_table(bill),
        layers=level_tables(bill, "layers", "layer"),
        tensors=level_tables(bill, "tensors", "tensor"),
    )


def _heading(models: list[str]) -> str:
    if not models:
        return "A merge"
    names = [clean(m) for m in models]
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} more"]
    return "Merge of " + (f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0])


def _sentence(bill: Numbers) -> str:
    """Whom the merged model is close to, and what it cost where that was measured."""
    total, models = bill["total"], bill["models"]
    said = _measured(bill)
    if not bill["changes"]:
        return said + "There is no base, so it cannot be said how much of each model's training the merge kept."
    found = [(v, clean(m)) for v, m in zip(total["interference"], models, strict=True) if v is not None]
    if not found:
        return said + "No model differs from the base."
    (low, nearest), (high, farthest) = min(found), max(found)
    if len(found) == 1:
        return said + f"Predicted interference with “{nearest}” is {number(low)}."
    return said + (
        f"The merged model is closest to “{nearest}” (predicted interference {number(low)}) and farthest from "
        f"“{farthest}” ({number(high)})."
    )


def _measured(bill: Numbers) -> str:
    both = [(best[1], row[MERGED]) for row in scores_of(bill).values() if (best := best_before(row)) and MERGED in row]
    lost = sum(after is not None and after < before for before, after in both)
    return f"{lost} of {len(both)} tasks score lower than with the best of the models. " if both else ""


def _facts(bill: Numbers) -> list[tuple[str, str, str]]:
    """(what, value, explanation) of the numbers to know first."""
    total, found = bill["total"], []
    cosines, norms = pairs(total), known_numbers(total["norm_kept"])
    if bill["changes"] and len(bill["models"]) > 1:
        found.append(
            ("Sign conflict", share(total["sign_conflict"]), "of entries are pulled up by one, down by another")
        )
    if cosines:
        of = "task vectors" if bill["changes"] else "weights"
        found.append(
            ("Cosine of two models", f"{number(min(cosines), 2)} to {number(max(cosines), 2)}", f"of their {of}")
        )
    if norms:
        found.append(
            ("Norm kept", f"{number(min(norms))} to {number(max(norms))}", "the merged vector's length over theirs")
        )
    return found
