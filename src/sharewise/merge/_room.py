"""Room on the disk: known before a merge starts, and told apart where it ends all the same."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MergeError
from ..files import sized

_SLACK = 50_000_000
"""Room left on the disk beyond what is written, bytes."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a system says of a disk, or a user's share of it, that is full."""


def check_room(out: Path, size: int) -> None:
    """Raise :class:`MergeError` where the disk of ``out`` has no room for ``size`` bytes."""
    place = out.absolute().parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < size + _SLACK:
        raise MergeError(
            f'the merged model needs {sized(size)} and {sized(_SLACK)} to spare, "{place}" has {sized(free)} free: '
            "make room, choose another disk, or set out_dtype: bfloat16"
        )


@contextmanager
def full_disk(out: Path) -> Iterator[None]:
    """Say that the disk of ``out`` is full where that ends the block, as :class:`MergeError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise MergeError(f'the disk of "{out}" is full; nothing was left there: make room and start again') from error
