"""Merging two checkpoints of 110 million parameters (438 MB each, float32): how long, and how much memory.

Whole processes, as a user runs them, taking turns. The floor is a process that loads both files, averages and saves
them with safetensors. CPU seconds are compared (the smallest of the rounds), since the disk is shared by all; memory is
the peak of the process above that of one that only imports torch. With ``--mergekit PATH`` of its ``mergekit-yaml``
command (mergekit 0.1.5; it brings 40 packages, so it belongs in an environment of its own) the same plans are given to
mergekit, and the outputs are compared entry by entry: those of TIES differ where entries tie at the threshold, of which
mergekit's unstable sort keeps any. ``--large`` merges a pair four times as large, too, once, for its memory. The bill
and its page are written in all of this.

    python benchmarks/merging.py [--rounds 3] [--mergekit VENV/bin/mergekit-yaml] [--work FOLDER] [--only ties,slerp]
        [--large]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

FLOOR = """
import sys
from safetensors.torch import load_file, save_file
a, b, out = sys.argv[1:]
a, b = load_file(a + "/model.safetensors"), load_file(b + "/model.safetensors")
save_file({k: (a[k] + b[k]) * 0.5 for k in a}, out, metadata={"format": "pt"})
"""
PLANS = {
    "linear": ("", {"weight": 0.5}),
    "slerp": ("a", {"t": 0.5}),
    "task_arithmetic": ("base", {"weight": 0.5}),
    "ties": ("base", {"weight": 0.5, "density": 0.5}),
    "dare_ties": ("base", {"weight": 0.5, "density": 0.5}),
    "breadcrumbs": ("base", {"weight": 0.5, "density": 0.5}),
    "sce": ("base", {"select_topk": 0.5}),
}
"""Method -> base, parameters."""
LARGE = 58
"""Layers of the pair four times as large: 12 layers hold 85 of the 110 million entries, embeddings the rest."""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 16000,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}


def make(folder: Path, layers: int = 12, width: int = 768) -> None:
    """A random base and two fine-tunes of it."""
    draw = torch.Generator().manual_seed(0)
    inner, shapes = width * 8 // 3, {"model.embed_tokens.weight": (16000, width)}
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes |= {f"{at}self_attn.{n}_proj.weight": (width, width) for n in "qkvo"}
        shapes |= {f"{at}mlp.{n}_proj.weight": (inner, width) for n in ("gate", "up")}
        shapes |= {f"{at}mlp.down_proj.weight": (width, inner)}
        shapes |= {f"{at}{n}_layernorm.weight": (width,) for n in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (16000, width)}
    base = {name: 0.02 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    config = CONFIG | {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": inner}
    for name in ("base", "a", "b"):
        (folder / name).mkdir(parents=True)
        tuned = (
            base if name == "base" else {k: v + 0.01 * torch.randn(v.shape, generator=draw) for k, v in base.items()}
        )
        save_file(tuned, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(config))


def write_plan(folder: Path, method: str) -> Path:
    """The plan of a method: the same file for both programs."""
    base, parameters = PLANS[method]
    content: dict[str, object] = {"merge_method": method, "dtype": "float32"}
    content["models"] = [{"model": str(folder / m)} for m in "ab"]
    content["parameters"] = parameters
    if base:
        content["base_model"] = str(folder / base)
    path = folder / f"{method}.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def timed(command: list[str]) -> dict[str, float]:
    """Seconds, CPU seconds and peak megabytes of a process, taken by a small parent of its own."""
    code = (
        "import json, resource, subprocess, sys, time; t = time.perf_counter(); "
        "p = subprocess.run(sys.argv[1:], capture_output=True, text=True); d = time.perf_counter() - t; "
        "r = resource.getrusage(resource.RUSAGE_CHILDREN); sys.stderr.write(p.stderr if p.returncode else ''); "
        "print(json.dumps({'wall': d, 'cpu': r.ru_utime + r.ru_stime, 'mb': r.ru_maxrss / 1024})); "
        "sys.exit(p.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, env=environment())
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def environment() -> dict[str, str]:
    """One thread of torch's own; mergekit is not to look for models in a network."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def commands(folder: Path, mergekit: str | None, methods: list[str]) -> dict[str, list[str]]:
    """What to run, by name."""
    python = sys.executable
    models = [str(folder / m) for m in "ab"]
    found = {
        "import torch": [python, "-c", "import torch"],
        "floor": [python, "-c", FLOOR, *models, str(folder / "floor.safetensors")],
    }
    for name in methods:
        plan = str(write_plan(folder, name))
        found[name] = [python, "-m", "sharewise", "merge", plan, str(folder / "ours" / name), "--overwrite"]
        if mergekit:
            theirs = str(folder / "theirs" / name)
            found[f"mergekit {name}"] = [mergekit, plan, theirs, "--no-copy-tokenizer", "--quiet"]
    return found


def measure(found: dict[str, list[str]], rounds: int) -> dict[str, dict[str, float]]:
    """The smallest time of every command over the rounds, and its largest memory."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, command in found.items():
            runs[name].append(timed(command))
    return {
        name: {"cpu": min(t["cpu"] for t in own), "wall": min(t["wall"] for t in own), "mb": max(t["mb"] for t in own)}
        for name, own in runs.items()
    }


def compare(folder: Path, method: str) -> dict[str, float]:
    """How our output differs from mergekit's: the share of entries, the largest difference, and that in ulps."""
    ours = folder / "ours" / method / "model.safetensors"
    theirs = next((folder / "theirs" / method).glob("*.safetensors"))
    worst, unequal, entries, ulps = 0.0, 0, 0, 0.0
    with safe_open(ours, "pt") as one, safe_open(theirs, "pt") as two:
        for name in two.keys():  # noqa: SIM118 (no iterator)
            a, b = one.get_tensor(name), two.get_tensor(name)
            apart = (a - b).abs()
            ulp = torch.exp2(torch.floor(torch.log2(b.abs().clamp(min=1e-6))) - 23)
            worst, ulps = max(worst, float(apart.max())), max(ulps, float((apart / ulp).max()))
            unequal, entries = unequal + int((a != b).sum()), entries + a.numel()
    return {"unequal": unequal / entries, "worst": worst, "ulps": ulps}


def table(numbers: dict[str, dict[str, float]], folder: Path, methods: list[str], peer: bool) -> None:
    """Print everything, and a line of JSON."""
    floor, start = numbers["floor"], numbers["import torch"]
    print(f"{'':<28}{'CPU s':>8}{'x floor':>9}{'wall s':>8}{'MB':>7}{'MB over torch':>15}")
    for name, n in numbers.items():
        more = n["mb"] - start["mb"]
        print(f"{name:<28}{n['cpu']:>8.2f}{n['cpu'] / floor['cpu']:>9.2f}{n['wall']:>8.2f}{n['mb']:>7.0f}{more:>15.0f}")
    for name in methods if peer else []:
        faster = numbers[f"mergekit {name}"]["cpu"] / numbers[name]["cpu"]
        apart = compare(folder, name)
        numbers[name] |= {"faster": faster, **apart}
        print(
            f"{name}: {faster:.1f} x faster than mergekit (CPU); {apart['unequal']:.2%} of entries differ, "
            f"by at most {apart['worst']:.1e} ({apart['ulps']:.0f} ulp)"
        )
    if not peer:
        print("mergekit was not given (--mergekit PATH of mergekit-yaml): no comparison with it")
    print("goals: linear, slerp, task_arithmetic <= 1.3 x the floor, others <= 2.5 x; at most 600 MB over torch")
    print(json.dumps({"benchmark": "merging", "results": numbers}))


def memory(folder: Path, methods: list[str], small: dict[str, dict[str, float]]) -> None:
    """Print what merging a pair four times as large takes beside the small one."""
    if not (folder / "b" / "model.safetensors").exists():
        make(folder, LARGE)
    large = measure(commands(folder, None, methods), 1)
    start = small["import torch"]["mb"]
    for name in methods:
        few, many = small[name]["mb"] - start, large[name]["mb"] - start
        print(f"{name}: {few:.0f} MB over torch, {many:.0f} MB for models four times as large ({many / few - 1:+.0%})")
    print(json.dumps({"benchmark": "merging large", "results": large}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mergekit", help="path of mergekit-yaml")
    parser.add_argument("--work", type=Path, help="folder for the checkpoints; kept")
    parser.add_argument("--large", action="store_true", help="also a pair four times as large (6 GB of disk)")
    parser.add_argument("--only", default=",".join(PLANS))
    options = parser.parse_args()
    methods = options.only.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).resolve()
        if not (folder / "b" / "model.safetensors").exists():
            make(folder)
        numbers = measure(commands(folder, options.mergekit, methods), options.rounds)
        table(numbers, folder, methods, bool(options.mergekit))
        if options.large:
            memory(folder / "large", methods, numbers)


if __name__ == "__main__":
    main()
