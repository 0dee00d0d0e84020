"""Models of different vocabularies: rows of embeddings are matched by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.checkpoints import WIDTH, llama, read, write
from sharewise.errors import MergeError
from sharewise.merge import StateSource, merge, open_plan
from sharewise.merge._rows import MEAN, PADDING, ZERO, MatchedSource, Rows, is_vocabulary

HEAD, EMBED = "lm_head.weight", "model.embed_tokens.weight"


def model(
    folder: Path, name: str, tokens: list[str], added: tuple[str, ...] = (), kind: str = "json"
) -> dict[str, Tensor]:
    """A model whose embedding of a token says which token and which model it is of."""
    tensors = llama(3, 1)
    everything = [*tokens, *added]
    for tensor in (HEAD, EMBED):
        tensors[tensor] = torch.stack([mark(name, token, tensor) for token in everything])
    place = write(folder / name, tensors, vocab_size=len(everything))
    if kind == "json":
        entries = [{"id": len(tokens) + i, "content": t, "special": True} for i, t in enumerate(added)]
        content = {"model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}}, "added_tokens": entries}
        (place / "tokenizer.json").write_text(json.dumps(content))
    elif kind == "unigram":
        (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [[t, -1.0] for t in tokens]}}))
    elif kind == "txt":
        (place / "vocab.txt").write_text("\n".join(tokens))
    elif kind == "files":
        (place / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
        (place / "added_tokens.json").write_text(json.dumps({t: len(tokens) + i for i, t in enumerate(added)}))
    return tensors


def mark(name: str, token: str, tensor: str) -> Tensor:
    seed = sum(ord(c) * 31**i for i, c in enumerate(f"{name}{token}{tensor}")) % 2**31
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def plan(*models: str, **more: Any) -> dict[str, Any]:
    return {"merge_method": "linear", "models": [{"model": m} for m in models], "parameters": {"weight": 1.0}, **more}


def tokens_of(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "tokenizer.json").read_text())
    return {**content["model"]["vocab"], **{e["content"]: e["id"] for e in content["added_tokens"]}}


def test_the_union_has_every_token_with_the_rows_of_those_that_know_it(tmp_path: Path) -> None:
    """x, y, <s> | y, z, x, <s>, </s>: y is row 1 and row 0, and averaged as one; z and </s> are b's alone, so a gets
    b's rows and the average is b's row."""
    model(tmp_path, "a", ["x", "y"], ("<s>",))
    model(tmp_path, "b", ["y", "z", "x"], ("<s>", "</s>"))
    bill = merge(plan("a", "b", tokenizer_source="union"), tmp_path / "out", root=tmp_path, block=5)
    ids, found = tokens_of(tmp_path / "out"), read(tmp_path / "out")
    assert ids == {"x": 0, "y": 1, "<s>": 2, "z": 3, "</s>": 4}
    entry = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["added_tokens"][-1]
    assert entry["special"] and entry["content"] == "</s>" and entry["id"] == 4
    for tensor in (HEAD, EMBED):
        for token in ("x", "y", "<s>"):
            mean = (mark("a", token, tensor) + mark("b", token, tensor)) / 2
            assert torch.allclose(found[tensor][ids[token]], mean), (tensor, token)
        for token in ("z", "</s>"):
            assert torch.allclose(found[tensor][ids[token]], mark("b", token, tensor))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 5
    assert bill["total"] is not None and "tokenizer.json" in bill["files"]
    assert open_plan(plan("out", "out"), root=tmp_path).tensors[EMBED].shape == (5, WIDTH)


@pytest.mark.parametrize(("source", "whose"), [("base", "a"), ("b", "b")])
def test_one_models_vocabulary_drops_what_only_others_know(tmp_path: Path, source: str, whose: str) -> None:
    model(tmp_path, "a", ["x", "y"])
    model(tmp_path, "b", ["y", "z", "x"])
    merge(plan("a", "b", tokenizer_source=source), tmp_path / "out", root=tmp_path)
    ids = tokens_of(tmp_path / whose)
    assert tokens_of(tmp_path / "out") == ids
    found = read(tmp_path / "out")[EMBED]
    assert len(found) == len(ids)
    for token, row in ids.items():
        having = [mark(m, token, EMBED) for m in "ab" if token in tokens_of(tmp_path / m)]
        assert torch.allclose(found[row], torch.stack(having).mean(0))


def test_a_row_that_is_missing_comes_from_the_base_else_it_is_the_mean(tmp_path: Path) -> None:
    """Of three models, c lacks "y". With base a its row is a's: no change, so that the sum is b's task vector alone."""
    for name, tokens in (("a", ["x", "y"]), ("b", ["x", "y"]), ("c", ["x"])):
        model(tmp_path, name, tokens)
    own = {"base_model": "a", "merge_method": "task_arithmetic", "tokenizer_source": "union"}
    merge(plan("b", "c") | own, tmp_path / "out", root=tmp_path)
    assert torch.allclose(read(tmp_path / "out")[EMBED][1], mark("b", "y", EMBED), atol=1e-6)
    merge(plan("a", "b", "c", tokenizer_source="union"), tmp_path / "mean", root=tmp_path)
    mean = (mark("a", "y", EMBED) + mark("b", "y", EMBED)) / 2
    assert torch.allclose(read(tmp_path / "mean")[EMBED][1], mean, atol=1e-6)


def test_tokens_may_be_told_where_their_rows_come_from(tmp_path: Path) -> None:
    model(tmp_path, "a", ["x", "y"])
    model(tmp_path, "b", ["y", "x"])
    tokens = {
        "new": {"source": {"kind": "model_token", "model": "b", "token": "x"}},
        "number": {"source": {"kind": "model_token", "model": "b", "token_id": 0}},
        "empty": {"source": {"kind": "zero"}},
        "x": {"source": "b", "force": True},
        "unknown": {},
    }
    asked = {"source": "union", "tokens": tokens, "pad_to_multiple_of": 8}
    merge(plan("a", "b", tokenizer=asked), tmp_path / "out", root=tmp_path)
    ids, found = tokens_of(tmp_path / "out"), read(tmp_path / "out")[EMBED]
    assert ids == {"x": 0, "y": 1, "new": 2, "number": 3, "empty": 4, "unknown": 5} and len(found) == 8
    assert torch.allclose(found[0], mark("b", "x", EMBED)) and torch.allclose(found[2], mark("b", "x", EMBED))
    assert torch.allclose(found[3], mark("b", "y", EMBED))
    assert not found[4].any() and not found[5].any()
    assert torch.allclose(found[6], found[:6].mean(0), atol=1e-6) and torch.equal(found[6], found[7])


@pytest.mark.parametrize("kind", ["unigram", "txt", "files"])
def test_vocabularies_in_other_files(tmp_path: Path, kind: str) -> None:
    model(tmp_path, "a", ["x", "y"], kind=kind)
    model(tmp_path, "b", ["y", "z", "x"], kind=kind)
    merge(plan("a", "b", tokenizer_source="union"), tmp_path / "out", root=tmp_path)
    found = read(tmp_path / "out")[EMBED]
    assert torch.allclose(found[2], mark("b", "z", EMBED)) and len(found) == 3
    assert torch.allclose(found[1], (mark("a", "y", EMBED) + mark("b", "y", EMBED)) / 2)
    added = json.loads(
        (tmp_path / "out" / ("tokenizer.json" if kind == "unigram" else "added_tokens.json")).read_text()
    )
    assert added == {"z": 2} or added["added_tokens"][0]["content"] == "z"


def test_one_vocabulary_is_left_alone_with_its_spare_rows(tmp_path: Path) -> None:
    for name in "ab":
        tensors = llama(0, 1)
        write(tmp_path / name, tensors)
        (tmp_path / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"x": 0, "y": 1}}}))
    opened = open_plan(plan("a", "b", tokenizer_source="union"), root=tmp_path)
    assert opened.matched.models == opened.models and opened.tensors[EMBED].shape == (12, WIDTH)


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    model(tmp_path, "a", ["x", "y"])
    model(tmp_path, "b", ["y", "z", "x"])
    with pytest.raises(MergeError, match="set tokenizer_source: union"):
        open_plan(plan("a", "b"), root=tmp_path)
    with pytest.raises(MergeError, match="neither base nor union"):
        open_plan(plan("a", "b", tokenizer_source="c"), root=tmp_path)
    for token, match in (({"source": "c"}, "neither base"), ({"source": "b"}, 'has no token "q"')):
        with pytest.raises(MergeError, match=match):
            open_plan(plan("a", "b", tokenizer={"source": "union", "tokens": {"q": token}}), root=tmp_path)
    number = {"source": {"kind": "model_token", "model": "b", "token_id": 7}}
    with pytest.raises(MergeError, match="has no row 7"):
        open_plan(plan("a", "b", tokenizer={"source": "union", "tokens": {"q": number}}), root=tmp_path)
    with pytest.raises(MergeError, match="either token or token_id"):
        half = {"source": {"kind": "model_token", "model": "b"}}
        open_plan(plan("a", "b", tokenizer={"source": "union", "tokens": {"q": half}}), root=tmp_path)
    (tmp_path / "b" / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(MergeError, match='the tokenizer of "b" cannot be read'):
        open_plan(plan("a", "b", tokenizer_source="union"), root=tmp_path)
    for name in "ab":
        (tmp_path / name / "tokenizer.json").unlink()
    with pytest.raises(MergeError, match="has no tokenizer files"):
        open_plan(plan("a", "b", tokenizer_source="union"), root=tmp_path)


def test_ids_may_have_gaps_and_tokens_no_row(tmp_path: Path) -> None:
    """Tokens x and y are rows 0 and 2; an added token's id lies beyond the three rows, so it has none."""
    for name, token in (("a", "y"), ("b", "z")):
        tensors = llama(0, 1)
        for tensor in (HEAD, EMBED):
            tensors[tensor] = torch.stack([mark(name, t, tensor) for t in ("x", "gap", token)])
        place = write(tmp_path / name, tensors, vocab_size=3)
        entry = {"id": 3, "content": f"<{name}>", "special": True}
        content = {"model": {"vocab": {"x": 0, token: 2}}, "added_tokens": [entry]}
        (place / "tokenizer.json").write_text(json.dumps(content))
    merge(plan("a", "b", tokenizer_source="union"), tmp_path / "out", root=tmp_path)
    found = read(tmp_path / "out")[EMBED]
    assert len(found) == 4 and torch.allclose(found[2], mark("a", "y", EMBED))
    assert torch.allclose(found[3], mark("b", "z", EMBED)) and not found[1].any()


def test_added_tokens_beside_a_plain_vocabulary(tmp_path: Path) -> None:
    """Ordinary tokens come before added ones, whichever model they are of; files keep the additions they had."""
    model(tmp_path, "a", ["x"], ("<a>",), kind="files")
    model(tmp_path, "b", ["x"], ("<b>",), kind="files")
    model(tmp_path, "c", ["x", "z"], kind="files")
    merge(plan("a", "b", "c", tokenizer_source="union"), tmp_path / "out", root=tmp_path)
    added = json.loads((tmp_path / "out" / "added_tokens.json").read_text())
    assert added == {"<a>": 1, "z": 2, "<b>": 3}
    assert torch.allclose(read(tmp_path / "out")[EMBED][3], mark("b", "<b>", EMBED))


def test_the_base_s_vocabulary_comes_first_wherever_it_is_named(tmp_path: Path) -> None:
    model(tmp_path, "a", ["x", "y"])
    model(tmp_path, "b", ["z", "x"])
    own = {"base_model": "b", "merge_method": "task_arithmetic", "tokenizer_source": "union"}
    merge(plan("a") | own, tmp_path / "out", root=tmp_path)
    assert tokens_of(tmp_path / "out") == {"z": 0, "x": 1, "y": 2}


def test_a_model_without_a_tokenizer_has_the_owner_s(tmp_path: Path) -> None:
    model(tmp_path, "a", ["x", "y"])
    model(tmp_path, "b", ["y", "x", "z"])
    model(tmp_path, "c", ["x", "y"])
    (tmp_path / "c" / "tokenizer.json").unlink()
    merge(plan("a", "b", "c", tokenizer_source="union"), tmp_path / "out", root=tmp_path)
    mean = torch.stack([mark(m, "y", EMBED) for m in "abc"]).mean(0)
    assert torch.allclose(read(tmp_path / "out")[EMBED][1], mean, atol=1e-6)


def test_one_vocabulary_is_padded_where_that_is_asked(tmp_path: Path) -> None:
    for name in "ab":
        model(tmp_path, name, ["x", "y", "z"])
    asked = plan("a", "b", tokenizer={"source": "union", "pad_to_multiple_of": 4})
    assert open_plan(asked, root=tmp_path).tensors[EMBED].shape == (4, WIDTH)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([0, 1, ZERO, MEAN]), st.integers(0, 4)), min_size=1, max_size=9), st.data())
def test_any_run_of_entries_is_what_the_whole_has_there(places: list[tuple[int, int]], data: st.DataObject) -> None:
    """Whatever the blocks: reads of any piece agree with the matched tensor formed row by row."""
    states = [torch.arange(15.0).view(5, 3) + 100 * i for i in range(2)]
    models = [StateSource(f"m{i}", {EMBED: s}) for i, s in enumerate(states)]
    means = {i: [(0, row), (1, 4 - row)] for i, (donor, row) in enumerate(places) if donor == MEAN}
    rows = [
        states[d][r] if d >= 0 else torch.zeros(3) if d == ZERO else (states[0][r] + states[1][4 - r]) / 2
        for d, r in places
    ]
    whole = torch.stack([*rows, torch.stack(rows).mean(0)])
    donor = torch.tensor([*(d for d, _ in places), PADDING])
    row = torch.tensor([*(r if d >= 0 else 0 for d, r in places), 0])
    source = MatchedSource(models[0], models, Rows(donor, row, means))
    start = data.draw(st.integers(0, whole.numel() - 1))
    end = data.draw(st.integers(start + 1, whole.numel()))
    out = torch.full((end - start,), float("nan"))
    source.read(EMBED, start, out)
    assert torch.allclose(out, whole.view(-1)[start:end], rtol=1e-6)


def test_names_of_vocabulary_tensors() -> None:
    yes = [
        EMBED,
        HEAD,
        "transformer.wte.weight",
        "bert.embeddings.word_embeddings.weight",
        "shared.weight",
        "output.weight",
    ]
    no = ["model.layers.0.mlp.up_proj.weight", "transformer.wpe.weight", "h.0.attention.output.weight", "norm.weight"]
    assert all(map(is_vocabulary, yes)) and not any(map(is_vocabulary, no))
