"""Systems are listed without being imported, and described so that a run can refute them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sharewise import systems
from sharewise.errors import OptionError
from sharewise.systems import Claim, Paper, system
from sharewise.systems._table import WHERE

CLAIM = Claim("A is better", "error", "a", "b")
PAPER = Paper("T", "A", 2026, "V", "https://example.org", "full text")


def register(id: str = "x", **changed):
    described = {"title": "X", "paper": PAPER, "family": "f", "data": "simulated: x", "claims": [CLAIM]}
    return system(id, **{**described, **changed})(lambda scale: {})


def loaded_after(code: str) -> set[str]:
    """The modules a fresh interpreter holds after ``code``."""
    code = f"import sys; from sharewise import systems; {code}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_listing_imports_no_system():
    loaded = loaded_after("systems.available()")
    assert "sharewise.systems" in loaded
    assert not loaded & {f"sharewise.systems.{where}" for where in WHERE.values()}


def test_describing_every_system_loads_nothing_heavy():
    loaded = loaded_after("[systems.get(id) for id in systems.available()]")
    assert {f"sharewise.systems.{where}" for where in WHERE.values()} <= loaded
    assert not loaded & {"torch", "polars", "sklearn", "scipy", "pandas"}


@pytest.mark.parametrize("id", systems.available())
def test_every_system_keeps_its_contract(id):
    found = systems.get(id)
    assert found.id == id and found.title and found.family and found.paper.url.startswith("https://")
    for scale in systems.SCALES:
        arms = found.arms(scale)
        assert {c.arm for c in found.claims} | {c.versus for c in found.claims if c.versus} <= set(arms)
    assert len({c.text for c in found.claims}) == len(found.claims)


def test_an_unknown_system_offers_the_nearest():
    with pytest.raises(OptionError, match='no system "rsa": did you mean "ras"'):
        systems.get("rsa")


def test_registering_and_finding(registry):
    function = register()
    found = systems.get("x")
    assert systems.available() == ["x"]
    assert found.arms is function and found.claims == (CLAIM,) and found.module == __name__


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"claims": []}, "has no claims"),
        ({"data": "digits"}, '"real: ..." or "simulated: ..."'),
        ({"reading": "free"}, '"ours" or "faithful"'),
        ({"reading": "ours"}, "lists no assumptions"),
        ({"paper": Paper("T", "A", 2026, "V", "https://x.org", "abstract")}, "an abstract alone"),
    ],
)
def test_a_description_without_substance_is_refused(registry, changed, words):
    with pytest.raises(OptionError, match=f'system "x".*{words}'):
        register(**changed)
    assert not registry


def test_an_id_belongs_to_one_module(registry):
    register()
    register()  # the same module again, as on a reload
    other = system("x", title="X", paper=PAPER, family="f", data="real: x", claims=[CLAIM])
    function = eval("lambda scale: {}", {"__name__": "elsewhere"})
    with pytest.raises(OptionError, match=r"registered twice: in .*test_registry and in elsewhere"):
        other(function)


@pytest.mark.parametrize(
    ("fields", "kind", "region"),
    [
        ({"versus": "b"}, "gain", (0.0, float("inf"))),
        ({"versus": "b", "margin": 0.1}, "gain", (0.1, float("inf"))),
        ({"versus": "b", "margin": -0.05}, "non-inferiority", (-0.05, float("inf"))),
        ({"versus": "b", "within": 0.02}, "equivalence", (-0.02, 0.02)),
        ({"at_most": 0.0}, "bound", (-float("inf"), 0.0)),
        ({"at_least": 0.85, "at_most": 0.95}, "bound", (0.85, 0.95)),
    ],
)
def test_kinds_of_claims(fields, kind, region):
    claim = Claim("text", "m", "a", **fields)
    assert claim.kind == kind and claim.region == region
    assert claim.to_dict()["kind"] == kind


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "names no arm to compare with"),
        ({"versus": "a"}, 'the arm "a" with itself'),
        ({"versus": "b", "better": "up"}, '"lower" or "higher"'),
        ({"versus": "b", "margin": float("nan")}, "finite"),
        ({"versus": "b", "at_most": 1.0}, "bound one arm alone"),
        ({"at_most": 1.0, "margin": 0.1}, "no margin"),
        ({"at_most": 1.0, "at_least": 2.0}, "lies below"),
        ({"versus": "b", "within": 0.0}, "within > 0"),
        ({"versus": "b", "within": 0.1, "margin": 0.1}, "no margin"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(fields, words):
    with pytest.raises(OptionError, match=f'claim "text": .*{words}'):
        Claim("text", "m", "a", **fields)


def test_evidence_is_one_of_three():
    with pytest.raises(OptionError, match='"full text", "partial text"'):
        Paper("T", "A", 2026, "V", "https://x.org", "rumour")
