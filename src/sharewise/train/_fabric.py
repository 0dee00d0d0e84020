"""The engine of a run: devices, precision, processes."""

from __future__ import annotations

from typing import Any

from ..errors import OptionError

PRECISIONS = ("32-true", "bf16-mixed")


def make_fabric(given: Any | None, precision: str) -> Any:
    """The caller's ``lightning_fabric.Fabric``, or one of one device; raises :class:`OptionError` for a precision
    that needs loss scaling."""
    wanted = precision if given is None else given._precision.precision
    if wanted not in PRECISIONS:
        raise OptionError(
            f"precision {wanted!r} is not supported: use one of {', '.join(PRECISIONS)} (bf16-mixed needs no loss "
            "scaling)"
        )
    if given is not None:
        return given
    from lightning_fabric import Fabric

    return Fabric(accelerator="auto", devices=1, precision=precision)
