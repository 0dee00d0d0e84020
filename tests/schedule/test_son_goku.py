"""SON-GOKU: the graph, its colouring, the cycle, the running means, and what is refused."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.schedules import walk
from sharewise.errors import OptionError, ScheduleError
from sharewise.schedule import Gradients, Signal, SonGoku, colour, conflicts, cosines
from sharewise.schedule._colouring import repeat_where_free
from sharewise.schedule._running_rows import RunningRows

NAMES = ("a", "b", "c", "d")
# a and b agree (cosine 1), c is against both (-1), d is at a right angle to all
ROWS = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])


def show(schedule: SonGoku, step: int, rows: Tensor = ROWS, names: tuple[str, ...] = NAMES) -> None:
    schedule.observe(step, Signal(gradients=Gradients(names, rows=list(rows))))


def graph(m: int, seed: int, share: float) -> Tensor:
    drawn = torch.rand(m, m, generator=torch.Generator().manual_seed(seed)) < share
    upper = drawn.triu(1)
    return upper | upper.T


@settings(derandomize=True, deadline=None, max_examples=60)
@given(m=st.integers(1, 30), seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_a_colouring_has_no_edge_within_a_class_and_few_classes(m: int, seed: int, share: float) -> None:
    edges = graph(m, seed, share)
    classes = colour(edges)
    assert sorted(v for members in classes for v in members) == list(range(m))
    assert not any(bool(edges[members][:, members].any()) for members in classes)
    assert len(classes) <= int(edges.sum(1).max()) + 1


def test_a_colouring_by_hand() -> None:
    # the path 0-1-2-3: degrees 1 2 2 1, so 1 first (class 0), 2 beside it (class 1), then 0 (class 1), 3 (class 0)
    edges = torch.zeros(4, 4, dtype=torch.bool)
    for i, j in ((0, 1), (1, 2), (2, 3)):
        edges[i, j] = edges[j, i] = True
    assert colour(edges) == [[1, 3], [0, 2]]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(m=st.integers(1, 16), seed=st.integers(0, 999), least=st.integers(1, 4))
def test_repeats_conflict_with_nobody_and_add_no_class(m: int, seed: int, least: int) -> None:
    edges = graph(m, seed, 0.4)
    classes = colour(edges)
    more = repeat_where_free(classes, edges, least)
    assert len(more) == len(classes)
    for before, after in zip(classes, more, strict=True):
        assert set(before) <= set(after) and not bool(edges[after][:, after].any())
    for vertex in range(m):
        if sum(vertex in members for members in more) < least:  # then it has a neighbour in every other class
            assert all(vertex in members or bool(edges[vertex, members].any()) for members in more)


def test_the_rules_by_hand() -> None:
    cosine = cosines(ROWS @ ROWS.T)
    assert cosine[0].tolist() == [1.0, 1.0, -1.0, 0.0]

    def pairs(rule: str, tau: float = 0.25, **more: float) -> list:
        return conflicts(cosine, tau, rule, **more).triu(1).nonzero().tolist()  # type: ignore[arg-type]

    opposite = [[0, 2], [1, 2]]
    assert pairs("threshold") == pairs("signed") == pairs("knn", neighbours=1) == opposite
    assert pairs("threshold", tau=1.0) == []  # a cosine of -1 is not below -1
    assert pairs("threshold", density=1 / 6) == [[0, 2]]
    assert pairs("threshold", density=1.0) == opposite  # never more than what conflicts
    assert pairs("quantile", density=0.5) == [[0, 2], [0, 3], [1, 2]]
    assert pairs("aligned") == [[0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


@pytest.mark.parametrize("rule", ["threshold", "signed", "knn", "quantile", "aligned"])
def test_a_task_of_which_nothing_is_known_has_no_edge(rule: str) -> None:
    rows = ROWS.clone()
    rows[2] = 0
    edges = conflicts(cosines(rows @ rows.T), 0.25, rule)  # type: ignore[arg-type]
    assert not bool(edges[2].any()) and torch.equal(edges, edges.T) and not bool(edges.diagonal().any())


@settings(derandomize=True, deadline=None, max_examples=40)
@given(m=st.integers(2, 12), seed=st.integers(0, 999), tau=st.floats(0.05, 0.9))
def test_a_group_never_nearly_cancels(m: int, seed: int, tau: float) -> None:
    """The paper's bound: |sum g|^2 >= (1 - tau (|S| - 1)) sum |g|^2 for a group without an edge.

    It is the one that holds for gradients of equal norm; for others the cross terms are bounded the same way.
    """
    rows = torch.randn(m, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for members in colour(conflicts(cosines(rows @ rows.T), tau)):
        group = rows[members]
        bound = (1 - tau * (len(members) - 1)) * group.square().sum()
        assert group.sum(0).square().sum() >= bound - 1e-9


def test_one_colour_a_step_in_turn_and_from_the_first_after_a_refresh() -> None:
    schedule = SonGoku(NAMES, refresh=3, beta=0.0)
    assert schedule.probes(0) == list(NAMES)
    show(schedule, 0)
    # c has degree 2 and comes first: class 0 is c, and d, which conflicts with nobody; class 1 is a and b
    assert [schedule.tasks(s) for s in (0, 1, 2)] == [["c", "d"], ["a", "b"], ["c", "d"]]
    assert [schedule.probes(s) for s in (1, 2, 3)] == [[], [], list(NAMES)]
    show(schedule, 3)
    assert schedule.probes(3) == [] and schedule.tasks(3) == ["c", "d"]
    (first, _) = schedule.log
    assert (first.step, first.tau, first.edges, first.colours, first.in_group_conflict) == (0, 0.25, 2, 2, 0.0)


def test_before_the_first_gradients_all_train() -> None:
    assert SonGoku(NAMES).tasks(0) == list(NAMES)


def test_warm_up_and_logarithmic_annealing() -> None:
    schedule = SonGoku(NAMES, refresh=1, warmup=10, anneal=20, tau=0.25)
    # half way from 1 to 1/4 in the logarithm is 1/2
    assert [schedule.threshold(s) for s in (0, 9, 10, 20, 30, 99)] == pytest.approx([1, 1, 1, 0.5, 0.25, 0.25])
    for step in range(11):
        show(schedule, step)
        assert schedule.tasks(step) == list(NAMES)
    show(schedule, 11)
    assert len(schedule.classes) == 2  # cosine -1 is now below -tau


def test_repeats_within_a_cycle() -> None:
    schedule = SonGoku(NAMES, least=2, beta=0.0)
    show(schedule, 0)
    assert schedule.classes == [["c", "d"], ["a", "b", "d"]]


def test_the_running_mean_by_hand() -> None:
    means = RunningRows(beta=0.5, width=None, seed=0)
    means.update("a", torch.tensor([2.0, 0.0]))  # (1, 0)
    means.update("a", torch.tensor([0.0, 4.0]))  # (1/2, 2)
    means.update("b", torch.tensor([2.0, 2.0]))  # (1, 1)
    assert means.gram(["a", "b", "c"]).tolist() == [[4.25, 2.5, 0], [2.5, 2.0, 0], [0, 0, 0]]


def test_memory_sees_through_the_noise() -> None:
    """At noise of twice the signal a true -0.4 measures as about -0.08 at once and -0.33 with beta 0.9."""
    generator = torch.Generator().manual_seed(0)
    n = 4000
    one = torch.zeros(n)
    one[0] = 1.0
    two = torch.zeros(n)
    two[0], two[1] = -0.4, math.sqrt(1 - 0.16)

    def measured(beta: float) -> float:
        means = RunningRows(beta, None, 0)
        for _ in range(60):
            for name, mean in (("a", one), ("b", two)):
                means.update(name, mean + 2 * torch.randn(n, generator=generator) / math.sqrt(n))
        return float(cosines(means.gram(["a", "b"]))[0, 1])

    assert measured(0.0) == pytest.approx(-0.08, abs=0.06)
    assert measured(0.9) == pytest.approx(-0.33, abs=0.05)


def test_a_sketch_keeps_inner_products_in_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 300, generator=generator)
    exact = rows @ rows.T
    grams = []
    for seed in range(200):
        means = RunningRows(0.0, 64, seed)
        for name, row in zip("ab", rows, strict=True):
            means.update(name, row)
        grams.append(means.gram("ab"))
    # at most, of one; the mean of 200 is within 4 / sqrt(200) of that
    spread = math.sqrt(2 / 64) * float(exact.diagonal().max())
    assert torch.stack(grams).mean(0) == pytest.approx(exact.double(), abs=4 * spread / math.sqrt(200))
    assert float(torch.stack(grams).std(0).max()) < 1.2 * spread


def test_a_sketch_finds_the_same_groups() -> None:
    rows = torch.zeros(4, 2000)
    rows[:, :2] = ROWS
    exact, sketched = SonGoku(NAMES), SonGoku(NAMES, sketch=256)
    for schedule in (exact, sketched):
        show(schedule, 0, rows)
    assert exact.classes == sketched.classes


def test_gram_and_rows_lead_to_the_same_graph() -> None:
    by_gram, by_rows = SonGoku(NAMES, beta=0.0), SonGoku(NAMES)
    order = ("d", "c", "b", "a")
    by_gram.observe(0, Signal(gradients=Gradients(order, gram=ROWS.flip(0) @ ROWS.flip(0).T)))
    show(by_rows, 0)
    assert by_gram.classes == by_rows.classes and torch.equal(by_gram.edges, by_rows.edges)
    assert by_gram.uses == {"gram"} and by_rows.uses == {"rows"}


def test_following_asks_for_the_tasks_of_the_step() -> None:
    schedule = SonGoku(NAMES, refresh=4, follow=True)
    show(schedule, 0)
    schedule.tasks(0)
    assert schedule.probes(1) == ["a", "b"]
    show(schedule, 1, ROWS[:2], ("a", "b"))
    assert schedule.probes(1) == [] and schedule.tasks(1) == ["a", "b"]
    assert schedule.probes(4) == list(NAMES)
    assert len(schedule.log) == 1


def test_random_groups_keep_the_sizes() -> None:
    names = tuple("abcdefgh")
    rows = torch.zeros(8, 2)
    rows[:, 0] = torch.tensor([1.0, 1, 1, 1, 1, -1, -1, -1])
    dealt = set()
    for seed in range(12):
        schedule = SonGoku(names, shuffle=True, seed=seed, beta=0.0)
        show(schedule, 0, rows, names)
        assert sorted(len(c) for c in schedule.classes) == [3, 5]
        assert sorted(n for c in schedule.classes for n in c) == list(names)
        dealt.add(str(schedule.classes))
    assert len(dealt) > 6


def test_the_interval_follows_the_number_of_tasks_and_grows() -> None:
    assert SonGoku([f"t{i}" for i in range(8)]).refresh == 32
    assert SonGoku([f"t{i}" for i in range(40)]).refresh == 160
    schedule = SonGoku(NAMES, refresh=2, growth=2.0)
    due = []
    for step in range(30):
        if schedule.probes(step):
            due.append(step)
            show(schedule, step)
        schedule.tasks(step)
    assert due == [0, 2, 6, 14]


@settings(derandomize=True, deadline=None, max_examples=15)
@given(m=st.integers(1, 12), seed=st.integers(0, 99))
def test_everybody_has_a_turn_in_every_cycle(m: int, seed: int) -> None:
    names = [f"t{i}" for i in range(m)]
    schedule = SonGoku(names, refresh=50, tau=0.05, seed=seed)
    steps = walk(schedule, 0, 2 * m + 2)
    length = len(schedule.classes)
    for first in range(len(steps) - length + 1):
        assert {n for step in steps[first : first + length] for n in step} == set(names)


def test_welsh_powell_is_networkx_largest_first() -> None:
    edges = graph(25, 3, 0.3)
    known = nx.from_numpy_array(edges.int().numpy())
    colours = nx.greedy_color(known, strategy="largest_first")
    assert [{colours[v] for v in members} for members in colour(edges)] == [
        {i} for i in range(1 + max(colours.values()))
    ]


def test_bad_gradients_name_their_task() -> None:
    rows = ROWS.clone()
    rows[1, 0] = math.nan
    with pytest.raises(ScheduleError, match='the gradient of task "b" is NaN or infinite'):
        show(SonGoku(NAMES), 0, rows)
    with pytest.raises(ScheduleError, match='the gradient of task "b" is NaN or infinite'):
        SonGoku(NAMES, beta=0.0).observe(0, Signal(gradients=Gradients(NAMES, gram=rows @ rows.T)))
    schedule = SonGoku(NAMES, refresh=1)
    show(schedule, 0)
    with pytest.raises(ScheduleError, match='task "a" has 3 entries, it had 2'):
        show(schedule, 1, torch.ones(4, 3))
    with pytest.raises(ScheduleError, match='a gradient is of task "e", which the schedule does not know'):
        show(schedule, 1, ROWS, ("a", "b", "c", "e"))
    with pytest.raises(ScheduleError, match="inner products cannot be averaged over steps"):
        SonGoku(NAMES).observe(0, Signal(gradients=Gradients(NAMES, gram=ROWS @ ROWS.T)))
    with pytest.raises(ScheduleError, match="without gram and without rows"):
        SonGoku(NAMES).observe(0, Signal(gradients=Gradients(NAMES)))


@pytest.mark.parametrize(
    "options",
    [
        {"refresh": 0},
        {"growth": 0.5},
        {"beta": 1.0},
        {"tau": 1.5},
        {"tau_start": 0.0},
        {"density": 0.0},
        {"rule": "colour"},
        {"neighbours": 0},
        {"sketch": 0},
        {"least": 0},
        {"tau": 0.0, "anneal": 5},
    ],
)
def test_options_are_checked(options: dict) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} must"):
        SonGoku(NAMES, **options)
    with pytest.raises(OptionError, match="follow adds to running means"):
        SonGoku(NAMES, follow=True, beta=0.0)
