"""Where the tensors of one model come from: a Hugging Face folder, one safetensors file, or a state dict in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import MergeError, nearest
from ._tensorfile import TensorFile, TensorInfo

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Source:
    """One model, read lazily.

    Attributes:
        name: what messages and the bill call it.
        tensors: every tensor's dtype and shape by name; nothing is loaded for it.
        folder: where its config and tokenizer files are, if it has any.
        config: the content of ``config.json``, or empty.
        metadata: what its files say of themselves.
    """

    name: str
    tensors: Mapping[str, TensorInfo]
    folder: Path | None = None
    config: Mapping[str, Any]
    metadata: Mapping[str, str] = MappingProxyType({})

    def read(self, tensor: str, start: int, out: Tensor) -> None:
        """Fill the flat, contiguous ``out`` with the entries of ``tensor`` from ``start`` on, converted to its dtype.

        Threads may read at once. Raises :class:`MergeError` where the file turns out broken.
        """
        raise NotImplementedError

    def whole(self, tensor: str, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor of this model, all of it; raises :class:`MergeError` for a name it does not have."""
        if tensor not in self.tensors:
            raise MergeError(f'model "{self.name}" has no tensor "{tensor}"; {nearest(tensor, self.tensors)}')
        info = self.tensors[tensor]
        out = torch.empty(info.shape, dtype=dtype or info.dtype)
        self.read(tensor, 0, out.view(-1))
        return out

    def close(self) -> None:
        """Close what is open."""


class FileSource(Source):
    """Tensors in one or several safetensors files."""

    def __init__(self, name: str, files: list[Path], folder: Path | None = None) -> None:
        self.name, self.folder = name, folder
        self._file_of: dict[str, TensorFile] = {}
        self._files = [TensorFile(path) for path in files]
        for file in self._files:
            for tensor in file.tensors:
                if tensor in self._file_of:
                    other = self._file_of[tensor].path.name
                    raise MergeError(f'model "{name}": tensor "{tensor}" is in both {other} and {file.path.name}')
                self._file_of[tensor] = file
        self.tensors = {t: f.tensors[t] for t, f in self._file_of.items()}
        self.metadata = {k: v for file in self._files for k, v in file.metadata.items()}
        self.config = read_config(folder / "config.json") if folder and (folder / "config.json").exists() else {}

    def read(self, tensor: str, start: int, out: Tensor) -> None:
        """See :meth:`Source.read`."""
        stored = self.tensors[tensor].dtype
        if stored == out.dtype:
            self._file_of[tensor].read(tensor, start, out)
            return
        raw = torch.empty(out.numel(), dtype=stored)
        self._file_of[tensor].read(tensor, start, raw)
        out.copy_(raw)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class StateSource(Source):
    """A ``state_dict`` (or any tensors by name) in memory; read without copying it whole."""

    def __init__(self, name: str, state: Mapping[str, Tensor]) -> None:
        self.name, self.config = name, {}
        for key, value in state.items():
            if not isinstance(value, Tensor):
                found = type(value).__name__
                raise MergeError(f'model "{name}": "{key}" is a {found}, not a tensor: pass model.state_dict()')
        self._state = {k: v.detach() for k, v in state.items()}
        self.tensors = {k: TensorInfo(v.dtype, tuple(v.shape)) for k, v in self._state.items()}

    def read(self, tensor: str, start: int, out: Tensor) -> None:
        """See :meth:`Source.read`."""
        out.copy_(self._state[tensor].reshape(-1)[start : start + out.numel()])


def open_source(place: Path | str | Mapping[str, Tensor], name: str | None = None) -> Source:
    """The model at ``place``: a folder with ``model.safetensors`` (or shards and their index), a ``.safetensors`` file,
    or a state dict.

    Raises :class:`MergeError` for a place that is not there, for pickles (with the way to convert them), and for a
    folder without weights.
    """
    if isinstance(place, Mapping):
        return StateSource(name or "state", place)
    path = Path(place)
    shown = name or str(place)
    if path.is_dir():
        source = FileSource(shown, _weights(path, shown), path)
        if (path / INDEX).is_file():
            _check_index(source, _index(path))
        return source
    if path.suffix in _PICKLES:
        raise _pickle(path)
    if path.is_file():
        return FileSource(shown, [path])
    raise MergeError(
        f'model "{shown}": there is no folder or file "{path}"; nothing is fetched from a network, so download it first'
    )


def _index(folder: Path) -> dict[str, str]:
    """Tensor -> file, of a folder of shards."""
    found = read_config(folder / INDEX).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise MergeError(f'"{folder / INDEX}" has no weight_map of tensors to files: copy or download it again')
    return found


def _weights(folder: Path, shown: str) -> list[Path]:
    """The safetensors files of a model's folder."""
    if (folder / INDEX).is_file():
        names = sorted(set(_index(folder).values()))
        for name in names:
            if Path(name).name != name:
                raise MergeError(f'model "{shown}": its index names "{name}", which is not a file of its folder')
            if not (folder / name).is_file():
                raise MergeError(f'model "{shown}" lacks its shard {name}, which {INDEX} names: download it again')
        return [folder / name for name in names]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found
    if found:
        raise MergeError(
            f'model "{shown}" has {len(found)} safetensors files and neither {SINGLE} nor {INDEX}: name one file'
        )
    pickles = [p for p in sorted(folder.iterdir()) if p.suffix in _PICKLES]
    if pickles:
        raise _pickle(pickles[0])
    raise MergeError(f'model "{shown}": no safetensors file in "{folder}"')


def _check_index(source: FileSource, index: Mapping[str, str]) -> None:
    """Raise :class:`MergeError` for a tensor that no shard holds."""
    gone = [tensor for tensor in index if tensor not in source.tensors]
    if gone:
        source.close()
        raise MergeError(
            f'model "{source.name}": {INDEX} places "{gone[0]}" in {index[gone[0]]}, which does not hold it: download '
            "the shards and their index again"
        )


def _pickle(path: Path) -> MergeError:
    return MergeError(
        f'"{path}" is a pickle, which can run code when it is opened, and is not read; convert it where you trust it: '
        f'safetensors.torch.save_file(torch.load("{path.name}", weights_only=True), "{SINGLE}")'
    )


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises :class:`MergeError` for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MergeError(f'"{path}" is no JSON: {error}') from None
    if not isinstance(value, dict):
        raise MergeError(f'"{path}" is no JSON object')
    return value
