"""M2A: read-outs, the projection that keeps them, and the method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from sharewise.errors import MergeError
from sharewise.files import read_json
from sharewise.merge import (
    Readouts,
    Statistics,
    collect_readouts,
    keep_readouts,
    merge,
    merge_states,
    protocol_places,
)
from sharewise.merge.methods._m2a import Overlap, strengths
from sharewise.systems.merging._decoder import Decoder, Shape, rotate

MARKERS = [[30], [31], [32], [33]]
TEXT = [1, 2, 30, 3, 4, 31, 32, 5, 6, 7, 33, 8, 9]
SHAPE = Shape(40, width=24, layers=3, heads=4, kv_heads=2, hidden=32, context=40)


def decoder(seed: int) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(SHAPE).eval()


def moved(model: Decoder, seed: int, size: float = 0.02) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {k: v + size * torch.randn(v.shape, generator=draws) for k, v in model.state_dict().items()}


def some_readouts(blocks: int, m: int, rows: int, columns: int, seed: int = 0) -> Readouts:
    draws = torch.Generator().manual_seed(seed)
    left = torch.randn(blocks, m, rows, generator=draws, dtype=torch.float64)
    return Readouts(left, torch.randn(blocks, m, columns, generator=draws, dtype=torch.float64))


# --- the projection


def test_one_readout_by_hand() -> None:
    # It reads entry (0, 1) twice over: a = 2. Without a ridge the entry goes; with 4 a half of it: 1 - a^2 / (a^2 + 4).
    readouts = Readouts(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 0.0]]]))
    change = torch.tensor([[1.0, 8.0, 3.0], [4.0, 5.0, 6.0]])
    assert keep_readouts(change, readouts, ridge=0.0).tolist() == [[1.0, 0.0, 3.0], [4.0, 5.0, 6.0]]
    assert keep_readouts(change, readouts, ridge=4.0).tolist() == [[1.0, 4.0, 3.0], [4.0, 5.0, 6.0]]


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_readouts_stay_and_the_solvers_agree(blocks: int, m: int, of_rows: bool, seed: int) -> None:
    readouts = some_readouts(blocks, m, 5, 6, seed)
    shape = (blocks * 5, 6) if of_rows else (5, blocks * 6)
    change = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept = keep_readouts(change, readouts)
    assert readouts.of(kept).norm() <= 1e-2 * readouts.of(change).norm()
    other = keep_readouts(change, readouts, solver="cg", iterations=1000, tol=1e-10)
    assert torch.allclose(kept, other, atol=1e-4)
    assert kept.norm() <= change.norm() * (1 + 1e-12)  # a part of it
    # the nearest one: what went is made of read-outs alone, so whatever keeps them is at a right angle to it
    free = keep_readouts(torch.ones_like(change), readouts, ridge=0.0)
    assert abs(float(((change - kept) * free).sum())) < 1e-6 * float(change.norm() * free.norm() + 1)


def test_blocks_are_solved_as_the_whole_map_would_be() -> None:
    readouts = some_readouts(2, 4, 3, 5)
    change = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = torch.zeros(8, 6, 5, dtype=torch.float64)
    for b in range(2):
        for k in range(4):
            rows[4 * b + k, 3 * b : 3 * b + 3] = torch.outer(readouts.left[b, k], readouts.right[b, k])
    a = rows.flatten(1)
    ridge = 1e-4
    want = change.flatten() - a.T @ torch.linalg.solve(a @ a.T + ridge * torch.eye(8), a @ change.flatten())
    assert torch.allclose(keep_readouts(change, readouts, ridge), want.view(6, 5), atol=1e-10)


def test_readouts_that_repeat_and_none_at_all() -> None:
    once = some_readouts(1, 3, 4, 5)
    twice = Readouts(once.left.repeat(1, 2, 1), once.right.repeat(1, 2, 1))
    change = torch.randn(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.allclose(keep_readouts(change, twice, 0.0), keep_readouts(change, once, 0.0), atol=1e-9)
    assert keep_readouts(change, some_readouts(1, 0, 4, 5)) is change


def test_readouts_that_do_not_fit_say_so() -> None:
    with pytest.raises(MergeError, match=r"2 blocks of 4 x 5 do not fit weights of 6 x 6.*same architecture"):
        keep_readouts(torch.zeros(6, 6), some_readouts(2, 1, 4, 5))
    with pytest.raises(MergeError, match=r"shapes \(1, 2, 3\) and \(1, 3, 3\)"):
        Readouts(torch.zeros(1, 2, 3), torch.zeros(1, 3, 3))


# --- where, and what is read


def test_places_of_the_protocol() -> None:
    found = protocol_places(TEXT, MARKERS, radius=1)
    assert found is not None
    assert found.near == [2, 3, 4, 5, 6, 7, 9, 10]
    # openings 2 and 6 meet what follows them, closings 5 and 10 what goes before; the later of two positions asks
    assert found.pairs == [(2, 2), (3, 2), (6, 2), (7, 2), (6, 2), (6, 3), (6, 6), (7, 6),
                           (5, 4), (5, 5), (9, 5), (10, 5), (10, 4), (10, 5), (10, 9), (10, 10)]  # fmt: skip
    assert protocol_places([30, 1, 31], MARKERS, radius=5) is not None  # a thought alone
    assert protocol_places([1, 30, 2], MARKERS) is None and protocol_places([30, 31, 32], MARKERS) is None
    # of longer texts the last thought and the last call; markers of several tokens are where they begin
    long = protocol_places([*TEXT, *TEXT], MARKERS, radius=0)
    assert long is not None and long.near == [15, 18, 19, 23]
    several = protocol_places([7, 8, 1, 7, 9], [[7, 8], [7, 9]], radius=0)
    assert several is not None and several.near == [0, 3]


def logits(model: Decoder, hidden: Tensor, layer: int) -> Tensor:
    """Attention logits ``[heads, T, T]`` for the input of a layer's attention."""
    attention = model.model.layers[layer].self_attn
    turn = model.model.rotary_emb(0, hidden.shape[0])
    q, k = (
        rotate(p(hidden).unflatten(-1, (-1, 6)).transpose(0, 1), *turn) for p in (attention.q_proj, attention.k_proj)
    )
    return q @ k.repeat_interleave(2, 0).transpose(1, 2) / 6**0.5


@pytest.mark.parametrize("which", ["q_proj", "k_proj"])
def test_attention_readouts_are_the_logits(which: str) -> None:
    model = decoder(0)
    places = protocol_places(TEXT, MARKERS)
    assert places is not None
    found = collect_readouts(model, [TEXT], MARKERS, pairs=10_000, tokens=1)
    seen: list[Tensor] = []
    layer = 1
    hook = model.model.layers[layer].input_layernorm.register_forward_hook(lambda m, a, out: seen.append(out[0]))
    model(torch.tensor([TEXT]))
    hook.remove()
    weight = getattr(model.model.layers[layer].self_attn, which).weight
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    name = f"model.layers.{layer}.self_attn.{which}"
    read = Readouts(found[f"{name}.left"], found[f"{name}.right"]).of(change)
    with torch.no_grad():
        before = logits(model, seen[0], layer)
        weight += change
        moved = logits(model, seen[0], layer) - before  # linear in either weight
    want = torch.stack([moved[h, i, j] for h in range(4) for i, j in places.pairs])
    assert read.numel() == len(want)
    assert torch.allclose(read.flatten().sort().values, want.sort().values, atol=1e-4)


@pytest.mark.parametrize(
    "end", ["self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
)
def test_other_readouts_are_the_layers_outputs_along_a_direction(end: str) -> None:
    """Along one fixed direction, the module's output at the places changes by the sum of the heads' read-outs."""
    model = decoder(0)
    found = collect_readouts(model, [TEXT], MARKERS, pairs=1, tokens=10_000, directions=1)
    name = f"model.layers.1.{end}"
    block = model.model.layers[1]
    watched = block.self_attn.o_proj if end.startswith("self_attn") else block.get_submodule(end)
    seen: list[Tensor] = []
    hook = watched.register_forward_hook(lambda m, a, out: seen.append(out[0].detach()))
    weight = block.get_submodule(end).weight
    change = 1e-2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model(torch.tensor([TEXT]))
        weight += change
        model(torch.tensor([TEXT]))
    hook.remove()
    read = Readouts(found[f"{name}.left"], found[f"{name}.right"]).of(change)
    places = protocol_places(TEXT, MARKERS)
    assert places is not None
    moved = (seen[1] - seen[0])[places.near]
    if end.startswith("self_attn"):
        scale, direction = 6**0.5, found["model.layers.1.self_attn.o_proj.left"][0, 0] * 6**0.5
        read = read.reshape(4, len(places.near)).sum(0)  # heads add up
    else:
        wide = weight.shape[1] ** 0.5
        scale, direction = wide, found[f"{name}.left"][0, 0] * wide
        read = read[0]
    assert direction.norm() == pytest.approx(1.0, rel=1e-5)
    assert sorted((scale * read).tolist()) == pytest.approx(sorted((moved @ direction).tolist()), abs=1e-5)


def test_collecting_leaves_the_model_alone_and_repeats() -> None:
    model = decoder(0).train()
    one, two = (collect_readouts(model, [TEXT, [1, 2, 3]], MARKERS, seed=3) for _ in range(2))
    assert one.kind == "readouts" and all(torch.equal(one[n], two[n]) for n in one)
    other = collect_readouts(model, [TEXT], MARKERS, seed=4)
    assert any(not torch.equal(one[n], other[n]) for n in one)
    assert model.training and not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_cannot_be_collected_is_said() -> None:
    with pytest.raises(MergeError, match="none of the texts holds two or four of the markers"):
        collect_readouts(decoder(0), [[1, 2, 3]], MARKERS)
    with pytest.raises(MergeError, match=r'no attention is named "\*\.layers\.N\.self_attn"'):
        collect_readouts(torch.nn.Linear(2, 2), [TEXT], MARKERS)
    with pytest.raises(MergeError, match="a marker has no tokens"):
        protocol_places(TEXT, [[]])


# --- the method


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    base = decoder(0)
    return {"base": dict(base.state_dict()), "agent": moved(base, 1), "reasoner": moved(base, 2, 0.05)}


@pytest.fixture(scope="module")
def readouts(states: dict[str, dict[str, Tensor]]) -> Statistics:
    model = decoder(0)
    model.load_state_dict(states["agent"])
    return collect_readouts(model, [TEXT, [*TEXT, 4, 5]], MARKERS)


def run(states: dict[str, dict[str, Tensor]], readouts: Statistics | None, **options: object) -> dict[str, Tensor]:
    models = {n: states[n] for n in ("agent", "reasoner")}
    return merge_states("m2a", models, states["base"], statistics={"agent": readouts} if readouts else {}, **options)


def test_strength_and_what_is_merged(states: dict[str, dict[str, Tensor]]) -> None:
    found = run(states, None, project=False, k=1e9, beta=1.5)
    for layer in range(3):
        names = [n for n in found if f"layers.{layer}." in n and "proj" in n]
        assert len(names) == 7
        change = {
            m: torch.cat([(states[m][n] - states["base"][n]).flatten() for n in names]) for m in ("agent", "reasoner")
        }
        alpha = 1.5 * change["agent"].norm() / change["reasoner"].norm()
        got = torch.cat([(found[n] - states["agent"][n]).flatten() for n in names])
        assert torch.allclose(got, alpha * change["reasoner"], atol=1e-6)
    others = [n for n in found if "proj" not in n]
    assert others and all(torch.equal(found[n], states["agent"][n]) for n in others)


def test_no_strength_is_the_agent(states: dict[str, dict[str, Tensor]], readouts: Statistics) -> None:
    found = run(states, readouts, beta=0.0)
    assert all(torch.equal(found[n], states["agent"][n]) for n in found)


def test_what_is_added_keeps_the_agents_readouts(states: dict[str, dict[str, Tensor]], readouts: Statistics) -> None:
    free, kept = (run(states, readouts, k=1e9, ridge=1e-9, project=p) for p in (False, True))
    for name in [n for n in kept if "proj" in n]:
        sides = (readouts[name.replace("weight", side)] for side in ("left", "right"))
        held = Readouts(*sides)
        moved, still = (held.of(s[name] - states["agent"][name]).norm() for s in (free, kept))
        assert still <= 1e-2 * moved and moved > 0, name


def test_layers_out_of_line_are_left_alone(states: dict[str, dict[str, Tensor]]) -> None:
    # Cosines 1, 1, -1 with a window of 1: mean 1/3, deviation 0.94; the last layer lies below.
    base, agent = states["base"], states["agent"]
    opposed = {n: 2 * base[n] - agent[n] if "layers.2." in n else agent[n] for n in agent}
    found = run({**states, "reasoner": opposed}, None, project=False, window=1, k=0.5)
    assert all(torch.equal(found[n], agent[n]) for n in found if "layers.2." in n)
    assert not any(torch.equal(found[n], agent[n]) for n in found if "layers.1." in n and "proj" in n)


def test_smoothing_by_hand() -> None:
    values = {"beta": 1.0, "k": 0.0, "window": 3, "alpha": None}
    cosines = [0.9, 0.3, 0.6, 0.6]
    layers = {f"layers.{i}": [Overlap(4.0, 1.0, 2 * c, values)] for i, c in enumerate(cosines)}
    found = list(strengths(layers).values())
    assert [s.smoothed for s in found] == pytest.approx([0.6, 0.6, 0.5, 0.6])  # ends are truncated; their mean is 0.575
    assert [s.merged for s in found] == [True, True, False, True]
    assert [s.alpha for s in found] == pytest.approx([2.0, 2.0, 0.0, 2.0])  # |4|^(1/2) / |1|^(1/2)
    assert all(s.merged for s in strengths(dict.fromkeys("ab", layers["layers.0"])).values())  # alike but for rounding


def test_a_second_model_that_learned_nothing(states: dict[str, dict[str, Tensor]], readouts: Statistics) -> None:
    found = run({**states, "reasoner": states["base"]}, readouts)
    assert all(torch.equal(found[n], states["agent"][n]) for n in found)


def test_missing_readouts_name_the_tensor_and_the_remedy(
    states: dict[str, dict[str, Tensor]], readouts: Statistics
) -> None:
    with pytest.raises(MergeError, match=r'"agent" has no read-outs of tensor "model\.layers\.0.*collect_readouts'):
        run(states, None)
    with pytest.raises(MergeError, match='are of the kind "gram", m2a takes "readouts"'):
        run(states, Statistics("gram", readouts.tensors))


def test_models_without_decoder_blocks_are_refused() -> None:
    states = {n: {"layer.weight": torch.ones(2, 2)} for n in ("base", "agent", "reasoner")}
    with pytest.raises(
        MergeError, match=r"finds none: expected tensors named as Llama's, such as .*found layer\.weight"
    ):
        run(states, None, project=False)


def test_files_with_a_plan_and_the_bill(
    tmp_path: Path, states: dict[str, dict[str, Tensor]], readouts: Statistics
) -> None:
    for name, state in states.items():
        save_file(state, tmp_path / f"{name}.safetensors")
    readouts.save(tmp_path / "readouts.safetensors")
    plan = {
        "merge_method": "m2a",
        "base_model": "base.safetensors",
        "models": [
            {"model": "agent.safetensors", "statistics": "readouts.safetensors"},
            {"model": "reasoner.safetensors"},
        ],
        "parameters": {"beta": 1.1, "k": 0.0},
    }
    merge(plan, tmp_path / "out", root=tmp_path)
    decided = read_json(tmp_path / "out" / "merge.json")["decisions"]
    assert [d["layer"] for d in decided] == [f"model.layers.{i}" for i in range(3)]
    assert all((d["alpha"] > 0) == d["merged"] for d in decided) and {d["merged"] for d in decided} == {True, False}


@pytest.mark.parametrize("family", ["Llama", "Qwen3"])
def test_readouts_of_models_of_transformers(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{family}Config")(
        vocab_size=40, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, max_position_embeddings=40, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    found = collect_readouts(model, [TEXT], MARKERS, pairs=10_000)
    places = protocol_places(TEXT, MARKERS)
    assert places is not None
    # a small change of the queries' weights changes the attention as the read-outs of its logits say
    weight = model.model.layers[0].self_attn.q_proj.weight
    change = 1e-4 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    name = "model.layers.0.self_attn.q_proj"
    read = Readouts(found[f"{name}.left"], found[f"{name}.right"]).of(change)
    with torch.no_grad():
        tokens = torch.tensor([TEXT])
        before = model(tokens, output_attentions=True).attentions[0][0].log()
        weight += change
        after = model(tokens, output_attentions=True).attentions[0][0].log()
    moved = after - before  # of logits, but for each row's normaliser
    # the draws of pairs are a permutation, so differences of logits in one row are compared as sets
    want = (moved[:, 10, 10] - moved[:, 10, 9]).tolist()
    for head, value in enumerate(want):
        gaps = (read[head, :, None] - read[head, None, :]).flatten()
        assert (gaps - value).abs().min() < 0.005 * max(map(abs, want)), (family, head)
