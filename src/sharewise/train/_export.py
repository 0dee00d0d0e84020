"""Models for use without this package: ONNX and torch.export programs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OptionError
from ..files import write_bytes
from ..tasks import Task

KINDS = ("onnx", "torch")


class Decoded(nn.Module):
    """A model whose outputs are decoded, as a tuple in the tasks' order."""

    def __init__(self, model: nn.Module, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.model, self.tasks = model, tuple(tasks)

    def forward(self, inputs: Any) -> tuple[Tensor, ...]:
        """Inputs as the model takes them -> one tensor a task."""
        raw = self.model(inputs)
        return tuple(task.decode(raw[task.name]) for task in self.tasks)


def check_kind(kind: str) -> None:
    """Raise :class:`OptionError` for a kind that is not known."""
    if kind not in KINDS:
        raise OptionError(f'cannot export to "{kind}": known are {", ".join(KINDS)}')


def export(model: nn.Module, tasks: Sequence[Task], inputs: Any, kind: str, path: Path | str) -> None:
    """Write ``model`` with decoded outputs to ``path``.

    Args:
        inputs: an example: a tensor or a dict of tensors, at least two rows (the first dimension becomes free).
        kind: ``onnx`` (opset chosen by torch; inputs named by their keys, outputs by the tasks) or ``torch``
            (load with ``torch.export.load(path).module()``).

    Raises :class:`OptionError` for another kind or if the ``onnx`` extra is missing.
    """
    check_kind(kind)
    module = Decoded(model, tasks).eval()
    batch = torch.export.Dim("batch")
    dynamic = {k: {0: batch} for k in inputs} if isinstance(inputs, dict) else {0: batch}
    program = torch.export.export(module, (inputs,), dynamic_shapes=(dynamic,))
    path = Path(path)
    if kind == "torch":
        import io

        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        write_bytes(path, buffer.getvalue())
        return
    write_bytes(path, _to_onnx(program, inputs, tasks))


def _to_onnx(program: Any, inputs: Any, tasks: Sequence[Task]) -> bytes:
    try:
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError:
        raise OptionError('ONNX export needs: pip install "sharewise[onnx]"') from None
    names = list(inputs) if isinstance(inputs, dict) else ["input"]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch's exporter walks its own deprecated tree classes and says so to its callers.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.|copyreg")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.|onnxscript\.|copyreg")
        exported = torch.onnx.export(
            program, input_names=names, output_names=[t.name for t in tasks], dynamo=True, verbose=False
        )
    assert exported is not None
    return exported.model_proto.SerializeToString()
