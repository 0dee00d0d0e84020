"""What methods say they need is what the page says, and is true."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sharewise.errors import MergeError
from sharewise.merge import available, merge_states, method, methods, needs, needs_table

PAGE = Path(__file__).parents[2] / "docs" / "merge" / "needs.md"
OWN = {getattr(methods, name)().name for name in methods.__all__}


def test_the_page_has_the_table() -> None:
    others = [f"| `{name}` |" for name in available() if name not in OWN]  # registered by another test
    rows = [line for line in needs_table().splitlines() if not line.startswith(tuple(others) or ("#",))]
    found = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert found == rows, "docs/merge/needs.md is out of date: put in what sw.merge.needs_table() gives"


def test_every_way_to_merge_is_in_it() -> None:
    named = {n.name for n in needs()}
    assert named >= OWN
    assert {
        "search",
        "greedy_soup",
        "zip_it",
        "align",
        "Masked",
        "WEMoE",
        "TwinMerging",
        "Surgery",
        "Ensemble",
    } <= named


@pytest.mark.parametrize("name", sorted(n.name for n in needs() if n.name in OWN and n.base == "yes"))
def test_what_needs_a_base_is_refused_without(name: str) -> None:
    models = {f"m{i}": {"w": torch.ones(2)} for i in range(int(max(method(name).least, 1)))}
    with pytest.raises(MergeError, match="name it as base_model"):
        merge_states(name, models)
