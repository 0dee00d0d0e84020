"""The files beside the weights: config, tokenizer and the like, carried over from the base or the first model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COPIED = (
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template.*",
)
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def carry_over(folder: Path | None, config: Mapping[str, Any], out: Path, changes: Mapping[str, Any]) -> list[str]:
    """Copy what a model needs besides its weights into ``out``; the names of the files.

    ``changes`` to the config: ``layers``, ``dtype``, ``vocab_size``; each only where the config speaks of it. Code is
    not copied: a merge of weights runs nothing.
    """
    written = []
    if config:
        (out / "config.json").write_text(json.dumps(_changed(config, changes), indent=2) + "\n", encoding="utf-8")
        written.append("config.json")
    if folder is not None:
        for pattern in _COPIED:
            for path in sorted(folder.glob(pattern)):
                if path.is_file() and not (out / path.name).exists():
                    shutil.copyfile(path, out / path.name)
                    written.append(path.name)
    return written


def _changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(config)
    if changes.get("layers") is not None:
        new.update({key: changes["layers"] for key in _LAYERS if key in config})
        if isinstance(config.get("layer_types"), list):
            del new["layer_types"]  # one entry a layer; made anew by whoever loads the model
    if changes.get("dtype") is not None:
        new.update({key: changes["dtype"] for key in ("dtype", "torch_dtype") if key in config})
    if changes.get("vocab_size") is not None and "vocab_size" in config:
        new["vocab_size"] = changes["vocab_size"]
    return new
