"""Balancers by name."""

from __future__ import annotations

import pytest

from sharewise import balance
from sharewise.balance import Balancer, available, create
from sharewise.balance._registry import _BALANCERS
from sharewise.errors import OptionError


def test_every_public_method_has_a_name() -> None:
    public = [value for name in balance.__all__ if isinstance(value := getattr(balance, name), type)]
    kinds = (Balancer, balance.LossBalancer, balance.GramBalancer, balance.GradientBalancer, balance.GuidedBalancer)
    methods = {c for c in public if issubclass(c, Balancer) and c not in kinds}
    assert methods == set(_BALANCERS.values())
    assert available() == sorted(available()) and len(available()) == len(methods)


def test_tasks_are_taken_by_every_method() -> None:
    needed = {"constant": {"weights": {"a": 1.0, "b": 2.0}}, "rotograd": {"size": 3}}
    for name in available():
        balancer = create(name, tasks=["a", "b"], **needed.get(name, {}))
        assert isinstance(balancer, Balancer)
        assert balancer.tasks == ("a", "b")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pcgrda", {}, 'balancer "pcgrda" is not known; did you mean "pcgrad"'),
        ("xyz", {}, "known: .*constant, .*equal, "),
        ("pcgrad", {"sede": 1}, 'balancer "pcgrad" has no option "sede"; did you mean "seed"'),
        ("equal", {"seed": 1}, 'balancer "equal" has no option "seed"; it has none'),
        ("constant", {}, 'balancer "constant" needs weights='),
        ("equal", {"tasks": ["a", "a"]}, "same name"),
    ],
)
def test_wrong_names_and_options(name: str, options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create(name, **options)
