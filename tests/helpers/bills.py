"""Bills of small merges of models and tensors of any name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sharewise.merge import Engine, StateSource, make_plan, method
from sharewise.merge._bill import Recorder
from sharewise.merge._layout import lay_out
from sharewise.merge._plan import Reference
from sharewise.merge._writer import StateWriter


def example_bill(
    models: Sequence[str], tensors: Sequence[str], *, base: bool = True, scores: bool = False
) -> dict[str, Any]:
    """What merging random models gives."""
    draw = torch.Generator().manual_seed(0)
    states = {m: {t: torch.randn(4, 3, generator=draw) for t in tensors} for m in ("base", *models)}
    content: dict[str, Any] = {"merge_method": "ties" if base else "linear", "parameters": {"weight": 1.0}}
    content["models"] = [{"model": {"path": m}} for m in models]
    if base:
        content["base_model"] = {"path": "base"}
    sources = {Reference(path=m): StateSource(m, state) for m, state in states.items()}
    jobs = lay_out(make_plan(content), method(content["merge_method"]), sources).jobs
    recorder = Recorder()
    Engine(StateWriter({job.name: job.info for job in jobs}), threads=1, observer=recorder).run(jobs)
    bill = {"method": content["merge_method"], "seconds": 1.5, "files": [], "warnings": [], **recorder.bill()}
    if scores:
        before = {m: 0.5 + 0.1 * i for i, m in enumerate(models)}
        bill["scores"] = {f"task of {m}": {**before, "merged": 0.55 + 0.02 * i} for i, m in enumerate(models)}
    return bill


def layered(layers: int) -> list[str]:
    """Names of tensors as a small language model has them."""
    inside = [f"model.layers.{i}.{n}.weight" for i in range(layers) for n in ("self_attn.q_proj", "mlp.up_proj")]
    return ["model.embed_tokens.weight", *inside, "lm_head.weight"]
