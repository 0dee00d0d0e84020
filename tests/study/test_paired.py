"""Paired statistics: values by hand, invariances, and the coverage that the intervals promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.errors import OptionError
from sharewise.study._paired import (
    Paired,
    corrected_t_interval,
    crossed_bootstrap,
    holm,
    noninferiority_p,
    paired_effects,
    t_interval,
    two_sided_p,
)

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)
PS = st.lists(st.floats(0, 1), min_size=1, max_size=10)


def test_effects_by_hand():
    arm, versus = [1.0, 3.0], [2.0, 2.0]
    assert paired_effects(arm, versus).tolist() == [0.5, -0.5]
    assert paired_effects(arm, versus, better="higher").tolist() == [-0.5, 0.5]
    assert paired_effects(arm, versus, relative=False).tolist() == [1.0, -1.0]
    # A loss that is negative (a log likelihood): the sign of the change stays.
    assert paired_effects([-3.0], [-2.0]).tolist() == [0.5]


def test_t_interval_by_hand():
    # 1, 2, 3, 4, 5: mean 3, s^2 = 2.5, se = sqrt(2.5 / 5); t(4, 0.975) = 2.776445 from a printed table.
    found = t_interval([1, 2, 3, 4, 5])
    half = 2.776445 * math.sqrt(0.5)
    assert found.mean == 3 and found.df == 4
    assert found.low == pytest.approx(3 - half, abs=1e-6)
    assert found.high == pytest.approx(3 + half, abs=1e-6)


def test_corrected_interval_by_hand():
    # Test rows are a quarter of training rows: variance (1/5 + 1/4) * 2.5.
    found = corrected_t_interval([1, 2, 3, 4, 5], 0.25)
    assert found.se == pytest.approx(math.sqrt(0.45 * 2.5))
    assert found.mean == 3


def test_equal_values_have_no_spread():
    assert t_interval([0.1] * 7)[:4] == (0.1, 0.0, 0.1, 0.1)


@given(VALUES, st.floats(0.1, 10), st.floats(-100, 100))
def test_t_interval_moves_and_scales_with_its_values(x, scale, shift):
    base, moved = t_interval(x), t_interval([scale * v + shift for v in x])
    for before, after in zip((base.mean, base.low, base.high), (moved.mean, moved.low, moved.high), strict=True):
        assert after == pytest.approx(scale * before + shift, rel=1e-6, abs=1e-6)
    wider = corrected_t_interval(x, 0.2)
    assert wider.high - wider.low >= base.high - base.low


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.2 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.2 (0.06 carried forward).
    assert holm([0.03, 0.01, 0.2, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.2, 0.06])
    # 0.5, 0.6 -> 1.0, max(1.0, 0.6): never above 1.
    assert holm([0.6, 0.5]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@given(PS, st.randoms(use_true_random=False))
def test_holm_keeps_order_and_follows_a_permutation(p, random):
    adjusted = holm(p)
    assert (adjusted >= np.asarray(p)).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    order = list(range(len(p)))
    random.shuffle(order)
    assert holm([p[i] for i in order]).tolist() == [adjusted[i] for i in order]


def test_p_values_by_hand():
    # t(1) is the Cauchy distribution: P(|t| > 1) = 1/2, P(t > 1) = 1/4.
    assert two_sided_p(2.0, 2.0, 1) == pytest.approx(0.5)
    assert noninferiority_p(0.0, 0.01, 0.01, 1) == pytest.approx(0.25)
    assert noninferiority_p(-0.01, 0.01, 0.01, 1) == pytest.approx(0.5)
    assert noninferiority_p(-0.02, 0.01, 0.01, 1) == pytest.approx(0.75)
    assert two_sided_p(0.0, 0.0, 4) == 1.0 and two_sided_p(-1.0, 0.0, 4) == 0.0
    assert noninferiority_p(-0.01, 0.0, 0.01, 4) == 1.0 and noninferiority_p(0.0, 0.0, 0.01, 4) == 0.0


def crossed(rng, seeds=5, rows=150, effect=0.1, seed_sd=0.04, row_sd=0.3, per=1) -> tuple[list[Paired], np.ndarray]:
    """Losses of two arms: rows differ in difficulty and in effect, seeds in effect; test sets overlap."""
    clusters = np.arange(rows) // per
    shared = rng.normal(0, row_sd, clusters.max() + 1)[clusters]
    hard = rng.gamma(4.0, 0.25, rows)
    samples = []
    for _ in range(seeds):
        ids = np.sort(rng.permutation(rows)[: rows // 2])
        own = rng.normal(0, seed_sd) + rng.normal(0, 0.1, len(ids))
        versus = hard[ids]
        samples.append(Paired(ids, versus - (effect + own + shared[ids]), versus))
    return samples, clusters


def test_bootstrap_mean_is_the_mean_effect_over_seeds():
    samples = [Paired([0, 1], [1.0, 1.0], [1.0, 3.0]), Paired([1, 2], [3.0, 3.0], [4.0, 4.0])]
    # Means 1 against 2 and 3 against 4: relative falls 1/2 and 1/4.
    assert crossed_bootstrap(samples, draws=10).mean == pytest.approx(0.375)
    assert crossed_bootstrap(samples, draws=10, relative=False).mean == pytest.approx(1.0)
    rooted = [Paired([0, 1], [1.0, 1.0], [4.0, 4.0])] * 2
    assert crossed_bootstrap(rooted, root=True, draws=10).mean == pytest.approx(0.5)
    weighted = [Paired([0, 1], [1.0, 1.0], [1.0, 3.0], [3.0, 1.0])] * 2
    assert crossed_bootstrap(weighted, draws=10).mean == pytest.approx(1 / 3)  # versus (3 + 3) / 4 = 1.5


def test_bootstrap_se_of_seeds_alone_is_that_of_t_interval():
    # Rows without any spread: what is left is the spread of the effects 1..5 over seeds.
    samples = [Paired([0, 1], [-float(s)] * 2, [0.0, 0.0]) for s in range(1, 6)]
    found = crossed_bootstrap(samples, relative=False, draws=20_000)
    assert found.se == pytest.approx(t_interval([1, 2, 3, 4, 5]).se, rel=0.03)
    assert found.df == 4


def test_bootstrap_se_of_rows_alone_is_that_of_a_mean():
    # The same 400 rows in every seed: five seeds add nothing, the rows' own error must stay.
    x = np.random.default_rng(0).normal(size=400)
    found = crossed_bootstrap([Paired(np.arange(400), -x, np.zeros(400))] * 5, relative=False, draws=4000)
    assert found.se == pytest.approx(x.std(ddof=1) / 20 * math.sqrt(5 / 4), rel=0.05)


def test_bootstrap_weights_go_with_clusters():
    rng = np.random.default_rng(1)
    samples, clusters = crossed(rng, rows=400, seed_sd=0.0, per=20)
    alone, together = (crossed_bootstrap(samples, clusters=c, draws=1000, relative=False) for c in (None, clusters))
    assert together.mean == pytest.approx(alone.mean)
    assert together.se > 2 * alone.se  # 20 rows with one common effect: up to sqrt(20) times


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_bootstrap_invariances(seed, scale):
    samples, _ = crossed(np.random.default_rng(seed), rows=30)
    base = crossed_bootstrap(samples, draws=50)
    scaled = [Paired(s.rows, scale * np.asarray(s.arm), scale * np.asarray(s.versus)) for s in samples]
    assert crossed_bootstrap(scaled, draws=50) == pytest.approx(base, rel=1e-9)
    flipped = [Paired(np.asarray(s.rows)[::-1], s.arm[::-1], s.versus[::-1]) for s in samples]
    assert crossed_bootstrap(flipped, draws=50) == pytest.approx(base, rel=1e-9)
    renamed = [Paired(7 * np.asarray(s.rows) + 3, s.arm, s.versus) for s in samples]
    assert crossed_bootstrap(renamed, draws=50) == pytest.approx(base, rel=1e-9)
    swapped = [Paired(s.rows, s.versus, s.arm) for s in samples]
    mirror = crossed_bootstrap(swapped, draws=50, relative=False)
    plain = crossed_bootstrap(samples, draws=50, relative=False)
    assert (mirror.mean, mirror.low, mirror.high) == pytest.approx((-plain.mean, -plain.high, -plain.low))


def test_gathering_many_rows_keeps_the_spread(monkeypatch):
    samples, _ = crossed(np.random.default_rng(2), rows=4000)
    every = crossed_bootstrap(samples, draws=1500)
    monkeypatch.setattr("sharewise.study._paired.MOST_GROUPS", 500)
    gathered = crossed_bootstrap(samples, draws=1500)
    assert gathered.mean == pytest.approx(every.mean)
    assert gathered.se == pytest.approx(every.se, rel=0.15)


def test_chunks_of_draws_do_not_change_the_answer(monkeypatch):
    samples, _ = crossed(np.random.default_rng(3), rows=50)
    once = crossed_bootstrap(samples, draws=200)
    again = crossed_bootstrap(samples, draws=200)
    assert once == again
    monkeypatch.setattr("sharewise.study._paired.CELLS_AT_ONCE", 1000)
    chunked = crossed_bootstrap(samples, draws=200)
    assert chunked.se == pytest.approx(once.se, rel=0.3)


@pytest.mark.parametrize(("seed_sd", "row_sd"), [(0.04, 0.3), (0.0, 0.3), (0.08, 0.0)])
def test_bootstrap_interval_covers(seed_sd, row_sd):
    rng = np.random.default_rng(4)
    hits = 0
    for i in range(300):
        samples, _ = crossed(rng, seed_sd=seed_sd, row_sd=row_sd)
        found = crossed_bootstrap(samples, relative=False, draws=200, seed=i)
        hits += found.low <= 0.1 <= found.high
    assert hits / 300 >= 0.90


def test_clustered_interval_covers_where_rows_alone_do_not():
    rng = np.random.default_rng(5)
    hits = {"rows": 0, "clusters": 0}
    for i in range(200):
        samples, clusters = crossed(rng, rows=300, seed_sd=0.0, per=10)
        for name, c in (("rows", None), ("clusters", clusters)):
            found = crossed_bootstrap(samples, relative=False, draws=200, seed=i, clusters=c)
            hits[name] += found.low <= 0.1 <= found.high
    assert hits["clusters"] / 200 >= 0.90
    assert hits["rows"] / 200 < 0.85


def test_t_interval_covers():
    rng = np.random.default_rng(6)
    covered = [t.low <= 0 <= t.high for t in (t_interval(rng.normal(size=5)) for _ in range(2000))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired_effects([1.0], [1.0, 2.0]), "differ in shape"),
        (lambda: paired_effects([1.0], [0.0]), "against a value of 0"),
        (lambda: paired_effects([math.nan], [1.0]), "NaN"),
        (lambda: paired_effects([1.0], [1.0], better="up"), '"lower" or "higher"'),
        (lambda: t_interval([1.0]), "two or more values"),
        (lambda: t_interval([1.0, math.inf]), "finite"),
        (lambda: t_interval([1.0, 2.0], level=95), "between 0 and 1"),
        (lambda: corrected_t_interval([1.0, 2.0], 0.0), "test rows / training rows"),
        (lambda: holm([0.1, 1.2]), "between 0 and 1"),
        (lambda: holm([math.nan]), "between 0 and 1"),
        (lambda: noninferiority_p(0.0, 1.0, -0.01, 4), "tolerated loss"),
        (lambda: crossed_bootstrap([Paired([0, 1], [1, 1], [1, 1])]), "two or more seeds"),
        (lambda: crossed_bootstrap([Paired([0], [1], [1])] * 2), "two or more rows"),
        (lambda: crossed_bootstrap([Paired([0, 1], [1], [1, 1])] * 2), "differ in length"),
        (lambda: crossed_bootstrap([Paired([0.5, 1], [1, 1], [1, 1])] * 2), "integers"),
        (lambda: crossed_bootstrap([Paired([0, 1], [1, math.nan], [1, 1])] * 2), "finite"),
        (lambda: crossed_bootstrap([Paired([0, 9], [1, 1], [1, 1])] * 2, clusters=[0, 1]), "every row"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(OptionError, match=words):
        call()
