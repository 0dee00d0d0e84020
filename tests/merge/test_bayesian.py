"""Bayesian merging: its limits, the posterior it states, Gram matrices without data, and the outer search."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.errors import MergeError
from sharewise.merge import BayesianMerge, bayesian_search, merge_states, module_groups
from sharewise.merge._posterior import Posterior, blend, shrunk, task_vector_gram

INF = math.inf


def layer(seed: int, tasks: int = 3, out: int = 4, columns: int = 6, rows: int = 40):
    """Experts' states, an anchor, a base, and Gram matrices of inputs of which every task has its own kind."""
    g = torch.Generator().manual_seed(seed)

    def state() -> dict[str, torch.Tensor]:
        return {
            "fc.weight": torch.randn(out, columns, generator=g, dtype=torch.float64),
            "fc.bias": torch.randn(out, generator=g, dtype=torch.float64),
            "norm": torch.randn(columns, generator=g, dtype=torch.float64),
        }

    experts = {f"t{i}": state() for i in range(tasks)}
    inputs = {name: torch.randn(rows, columns, generator=g, dtype=torch.float64) for name in experts}
    for i, x in enumerate(inputs.values()):
        x[:, i] *= 30  # badly conditioned, each in its own direction
    grams = {name: {"fc.weight": x.T @ x / rows} for name, x in inputs.items()}
    return experts, state(), state(), grams, inputs


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_no_precision_is_regmean_and_all_of_it_the_anchor(seed: int, off_diagonal: float) -> None:
    experts, anchor, _, grams, _ = layer(seed)
    merge = BayesianMerge(experts, anchor, grams, off_diagonal=off_diagonal)
    left = sum(shrunk(g["fc.weight"], off_diagonal) for g in grams.values())
    right = sum(experts[n]["fc.weight"] @ shrunk(g["fc.weight"], off_diagonal) for n, g in grams.items())
    regmean = torch.linalg.solve(left, right.T).T
    for precision in (0.0, 1e-12):
        torch.testing.assert_close(merge.merged(precision)["fc.weight"], regmean, rtol=1e-6, atol=1e-6)
    for precision, tolerance in ((INF, 0), (1e12, 1e-6)):
        for name, value in merge.merged(precision).items():
            torch.testing.assert_close(value, anchor[name], rtol=tolerance, atol=tolerance)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-4, 1e4))
def test_the_posterior_is_that_of_the_stacked_regression(seed: int, precision: float) -> None:
    """Against the textbook formula on all examples at once, each task's rows weighing 1/n."""
    experts, anchor, _, grams, inputs = layer(seed)
    found = BayesianMerge(experts, anchor, grams).merged(precision)["fc.weight"]
    rows = torch.cat([x / len(x) ** 0.5 for x in inputs.values()])
    outputs = torch.cat([x / len(x) ** 0.5 @ experts[n]["fc.weight"].T for n, x in inputs.items()])
    ridge = precision * (rows.T @ rows).trace() / rows.shape[1]
    extra = ridge**0.5 * torch.eye(rows.shape[1], dtype=torch.float64)
    stacked = torch.linalg.lstsq(
        torch.cat([rows, extra]), torch.cat([outputs, ridge**0.5 * anchor["fc.weight"].T])
    ).solution.T
    torch.testing.assert_close(found, stacked, rtol=1e-7, atol=1e-7)


def test_a_value_by_hand() -> None:
    # One output, two inputs, G = diag(4, 0): A + lambda I = diag(4 + 2, 2) at precision 1 (lambda = tr(A) / 2 = 2).
    # W = W_a + (W_t - W_a) G (A + lambda I)^-1 = (1, 1) + (6, 6) diag(4/6, 0) = (5, 1).
    experts, anchor = {"a": {"w.weight": torch.tensor([[7.0, 7.0]])}}, {"w.weight": torch.ones(1, 2)}
    experts["a"]["w.weight"] = experts["a"]["w.weight"].repeat(2, 1)  # a matrix has at least two rows
    anchor["w.weight"] = anchor["w.weight"].repeat(2, 1)
    merge = BayesianMerge(experts, anchor, {"a": {"w.weight": torch.diag(torch.tensor([4.0, 0.0]))}})
    torch.testing.assert_close(merge.merged(1.0)["w.weight"], torch.tensor([[5.0, 1.0], [5.0, 1.0]]))
    # No input in the second direction: the anchor stays there, however small the precision.
    torch.testing.assert_close(merge.merged(0.0)["w.weight"], torch.tensor([[7.0, 1.0], [7.0, 1.0]]))


def test_identical_experts_and_anchor_give_that_expert() -> None:
    experts, _, _, grams, _ = layer(5)
    same = dict.fromkeys(experts, experts["t0"])
    for precision in (0.0, 0.3, INF):
        merged = BayesianMerge(same, experts["t0"], grams).merged(precision)
        torch.testing.assert_close(merged["fc.weight"], experts["t0"]["fc.weight"], rtol=1e-12, atol=1e-12)


def test_order_of_models_does_not_matter_and_weights_do() -> None:
    experts, anchor, _, grams, _ = layer(6)
    merged = BayesianMerge(experts, anchor, grams).merged(0.1)["fc.weight"]
    turned = BayesianMerge(dict(reversed(experts.items())), anchor, grams).merged(0.1)["fc.weight"]
    torch.testing.assert_close(merged, turned)
    alone = BayesianMerge(experts, anchor, grams, weights={"t1": 0.0, "t2": 0.0}).merged(0.0)["fc.weight"]
    torch.testing.assert_close(alone, experts["t0"]["fc.weight"], rtol=1e-6, atol=1e-6)


def test_biases_are_solved_for_where_the_grams_count_them() -> None:
    experts, anchor, _, _, inputs = layer(7)
    ones = {n: torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1) for n, x in inputs.items()}
    grams = {n: {"fc.weight": x.T @ x / len(x)} for n, x in ones.items()}
    merged = BayesianMerge(experts, anchor, grams).merged(0.0)
    rows = torch.cat(list(ones.values()))
    outputs = torch.cat([inputs[n] @ e["fc.weight"].T + e["fc.bias"] for n, e in experts.items()])
    solution = torch.linalg.lstsq(rows, outputs).solution
    torch.testing.assert_close(merged["fc.weight"], solution[:-1].T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(merged["fc.bias"], solution[-1], rtol=1e-6, atol=1e-6)
    assert torch.equal(merged["norm"], anchor["norm"])


def test_scale_multiplies_what_was_added_to_the_base() -> None:
    experts, anchor, base, grams, _ = layer(8)
    merge = BayesianMerge(experts, anchor, grams, base=base)
    one, half = merge.merged(0.1), merge.merged(0.1, 0.5)
    for name in one:
        torch.testing.assert_close(half[name], (one[name] + base[name]) / 2)
    with pytest.raises(MergeError, match="pass base"):
        BayesianMerge(experts, anchor, grams).merged(0.1, 0.5)


def test_bayes_beats_its_limits_when_the_model_is_true() -> None:
    """Linear-Gaussian tasks of condition 1e3 in overlapping subspaces: W drawn around the anchor, experts seen with
    noise. The posterior mean at the true ratio of variances has the least expected error; here, a mean of 40 draws."""
    g = torch.Generator().manual_seed(0)
    columns, out, tasks, rho, sigma = 12, 8, 4, 0.5, 1.0
    errors = {0.0: 0.0, 1.0: 0.0, INF: 0.0}
    for _ in range(40):
        grams, noisy = [], []
        anchor = torch.randn(out, columns, generator=g, dtype=torch.float64)
        truth = anchor + rho * torch.randn(out, columns, generator=g, dtype=torch.float64)
        for t in range(tasks):
            spectrum = torch.logspace(0, -3, columns, dtype=torch.float64).roll(3 * t)
            turn = torch.linalg.qr(torch.randn(columns, columns, generator=g, dtype=torch.float64))[0]
            root = turn * spectrum.sqrt()
            grams.append(root @ root.T)
            # x W_t^T = x W^T + noise for the rows of root^T: W_t = truth + noise root^-1
            draw = sigma * torch.randn(out, columns, generator=g, dtype=torch.float64)
            noisy.append(truth + torch.linalg.solve(root, draw, left=False))
        posterior = Posterior.of(noisy, grams, anchor, [1.0] * tasks)
        for precision in errors:
            ratio = precision * sigma**2 / rho**2 / posterior.scale if precision == 1.0 else precision
            errors[precision] += float((posterior.mean(ratio) - truth).square().mean()) / 40
    assert errors[1.0] < 0.9 * min(errors[0.0], errors[INF])


def test_samples_have_the_posterior_s_mean_and_covariance() -> None:
    experts, anchor, _, grams, _ = layer(9)
    names = list(experts)
    posterior = Posterior.of(
        [experts[n]["fc.weight"] for n in names], [grams[n]["fc.weight"] for n in names], anchor["fc.weight"], [1.0] * 3
    )
    g = torch.Generator().manual_seed(1)
    draws = torch.stack([posterior.sample(0.5, 40, g) for _ in range(4000)])
    total = sum(grams[n]["fc.weight"] for n in names)
    ridge = 0.5 * float(total.trace()) / 6 * torch.eye(6, dtype=torch.float64)
    residual = sum(
        (d @ grams[n]["fc.weight"] * d).sum() for n in names for d in [experts[n]["fc.weight"] - posterior.mean(0.5)]
    )
    assert posterior.noise(0.5) == pytest.approx(float(residual) / (4 * 3))
    wanted = posterior.noise(0.5) / 40 * torch.linalg.inv(total + ridge)
    found = torch.cov((draws - posterior.mean(0.5)).flatten(0, 1).T)
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.05 * float(wanted.diagonal().max()))
    again = BayesianMerge(experts, anchor, grams).sample(0.5, rows=40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again["fc.weight"], draws[0]) and torch.equal(again["fc.bias"], anchor["fc.bias"])


def test_grams_guessed_from_task_vectors_are_like_the_inputs() -> None:
    """After gradient descent on inputs in a plane, the guess has that plane alone, and correlates with the truth."""
    g = torch.Generator().manual_seed(3)
    plane = torch.linalg.qr(torch.randn(8, 2, generator=g))[0]
    x = (torch.randn(200, 2, generator=g) * torch.tensor([3.0, 1.0])) @ plane.T
    base, target = torch.randn(5, 8, generator=g), torch.randn(5, 8, generator=g)
    weight = base.clone()
    for _ in range(20):
        weight -= 0.02 * (weight - target) @ x.T @ x / len(x)
    guess, true = task_vector_gram(weight - base), (x.T @ x / len(x)).double()
    outside = torch.eye(8) - plane @ plane.T
    assert float((outside.double() @ guess).norm()) < 1e-5
    assert float(guess.trace()) == pytest.approx(1)
    upper = torch.triu_indices(8, 8, 1)
    assert float(torch.corrcoef(torch.stack([guess[upper[0], upper[1]], true[upper[0], upper[1]]]))[0, 1]) > 0.5
    assert not task_vector_gram(torch.zeros(5, 8)).any()


def test_the_hybrid_runs_from_guess_to_data() -> None:
    experts, anchor, base, grams, _ = layer(10)
    guess, data = torch.eye(3) * 5, torch.diag(torch.tensor([1.0, 1.0, 2.0]))
    torch.testing.assert_close(blend(data, guess, 0.25), 0.25 * data / 4 + 0.75 * torch.eye(3) / 3)
    free = BayesianMerge.from_task_vectors(experts, anchor, base)
    none = BayesianMerge.from_task_vectors(experts, anchor, base, grams=grams, share=0.0)
    torch.testing.assert_close(free.merged(0.1)["fc.weight"], none.merged(0.1)["fc.weight"])
    whole = BayesianMerge.from_task_vectors(experts, anchor, base, grams=grams, share=1.0).merged(0.1)
    equal = {n: {"fc.weight": g["fc.weight"] / g["fc.weight"].trace()} for n, g in grams.items()}
    torch.testing.assert_close(
        whole["fc.weight"], BayesianMerge(experts, anchor, equal).merged(0.1)["fc.weight"], rtol=1e-7, atol=1e-7
    )
    joined = BayesianMerge.from_task_vectors(experts, anchor, base, bias=True).merged(0.0)
    assert not torch.equal(joined["fc.bias"], anchor["fc.bias"])


def test_wrong_input_is_refused_with_its_name() -> None:
    experts, anchor, base, grams, _ = layer(11)
    with pytest.raises(MergeError, match='model "t2" has no Gram matrices'):
        BayesianMerge(experts, anchor, {n: g for n, g in grams.items() if n != "t2"})
    with pytest.raises(MergeError, match=r'"fc.weight" of model "t0" is \[3, 3\], expected \[6, 6\]'):
        BayesianMerge(experts, anchor, {**grams, "t0": {"fc.weight": torch.eye(3)}})
    with pytest.raises(MergeError, match=r'"t1" has no Gram matrix of "fc.weight"'):
        BayesianMerge(experts, anchor, {**grams, "t1": {}})
    with pytest.raises(MergeError, match="weights must be at least 0"):
        BayesianMerge(experts, anchor, grams, weights={"t0": -1.0})
    merge = BayesianMerge(experts, anchor, grams)
    with pytest.raises(MergeError, match=r'precision must be at least 0, found nan for "fc.weight"'):
        merge.merged(math.nan)
    with pytest.raises(MergeError, match=r'no precision is given for "fc.weight"; did you mean "fc.weigt"'):
        merge.merged({"fc.weigt": 1.0})
    with pytest.raises(MergeError, match=r"share is 0.5 of Gram matrices that were not given"):
        BayesianMerge.from_task_vectors(experts, anchor, base, share=0.5)
    with pytest.raises(MergeError, match="no model was given"):
        BayesianMerge({}, anchor, {})


def test_dtypes_are_the_anchor_s() -> None:
    experts, anchor, _, grams, _ = layer(12)
    half = {n: v.to(torch.bfloat16) for n, v in anchor.items()}
    merged = BayesianMerge(experts, half, grams).merged(0.1)
    assert {v.dtype for v in merged.values()} == {torch.bfloat16}


def test_the_search_is_never_worse_than_its_starts_and_repeats() -> None:
    def score(setting) -> float:  # -(x - 1)^2 - (y + 2)^2
        return -((setting["x"] - 1) ** 2) - (setting["y"] + 2) ** 2

    space = {"x": (-3.0, 3.0), "y": (-3.0, 3.0)}
    starts = [{"x": 3.0, "y": 3.0}, {"x": -3.0, "y": -3.0}]
    found = bayesian_search(score, space, starts=starts, trials=25, seed=4)
    assert [t.setting for t in found.trials[:2]] == starts and len(found.trials) == 25
    assert found.best.score == max(t.score for t in found.trials) > -0.3  # random draws of a 36-unit box: seldom
    assert bayesian_search(score, space, starts=starts, trials=25, seed=4) == found
    flat = bayesian_search(lambda s: 0.0, space, starts=starts, trials=2)
    assert flat.best.setting == starts[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": {}}, "nothing to search"),
        ({"space": {"x": (1.0, 1.0)}}, 'range of "x" is 1 to 1'),
        ({"starts": [{"x": 9.0}]}, 'does not lie in the space: see "x"'),
        ({"starts": [{"x": 0.5, "z": 1.0}]}, 'does not lie in the space: see "z"'),
        ({"starts": [{"x": 0.5}] * 3, "trials": 2}, "2 trials are fewer than the 3 starts"),
        ({"score": lambda s: math.nan}, "is nan: it must be a finite number"),
    ],
)
def test_a_search_that_cannot_be_is_refused(arguments, words) -> None:
    given = {"score": lambda s: 0.0, "space": {"x": (0.0, 1.0)}, "trials": 3, **arguments}
    with pytest.raises(MergeError, match=words):
        bayesian_search(given.pop("score"), given.pop("space"), **given)


def test_groups_are_kinds_by_parts_of_the_depth() -> None:
    names = [f"h.{i}.{kind}.weight" for i in range(6) for kind in ("q", "fc")]
    groups = module_groups(names, 3)
    assert len(set(groups.values())) == 6
    assert groups["h.0.q.weight"] == groups["h.1.q.weight"] == "h.*.q.weight 1/3"
    assert groups["h.5.fc.weight"] == "h.*.fc.weight 3/3"


@pytest.mark.parametrize("joined", [False, True])
def test_the_method_of_plans_does_the_same(joined: bool) -> None:
    experts, anchor, base, grams, inputs = layer(13)
    if joined:
        ones = {n: torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1) for n, x in inputs.items()}
        grams = {n: {"fc.weight": x.T @ x / len(x)} for n, x in ones.items()}
    wanted = BayesianMerge(experts, anchor, grams, off_diagonal=0.7).merged(0.2)
    models = {"other merge": anchor, **experts}
    found = merge_states(
        "bmm", models, base, statistics=grams, anchor="other merge", precision=0.2, off_diagonal=0.7, threads=1
    )
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
    assert torch.allclose(found["fc.bias"], anchor["fc.bias"]) is not joined


def test_the_method_of_plans_guesses_grams_without_data() -> None:
    experts, anchor, base, grams, _ = layer(14)
    wanted = BayesianMerge.from_task_vectors(experts, anchor, base, off_diagonal=0.9).merged(1.0)
    found = merge_states("bmm", {**experts, "a": anchor}, base, anchor="a", threads=1)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
    with pytest.raises(MergeError, match='anchor "b" is none of the models'):
        merge_states("bmm", {**experts, "a": anchor}, base, anchor="b")
    with pytest.raises(MergeError, match=r'of model "t0" is \[2, 2\], expected \[6, 6\]'):
        wrong = {**grams, "t0": {"fc.weight": torch.eye(2)}}
        merge_states("bmm", {**experts, "a": anchor}, base, anchor="a", statistics=wrong)
