"""A folder that appears whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MergeError
from ._room import FULL

BILL = "merge.json"
"""The bill; also what tells a merge's folder from any other."""
PAGE = "merge.html"
"""The bill as a page."""
_LOCK = ".lock"


@contextmanager
def new_folder(out: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield an empty folder beside ``out``, which takes the name ``out`` when the block ends well and goes when not.

    A process that is killed leaves the folder ``.NAME.merging`` behind, which the next call for the same ``out``
    clears away; a lock tells it from one that is still being written. Raises :class:`MergeError` where ``out`` exists
    (unless ``overwrite``), holds one of the ``inputs``, which would go with it, cannot be made, or is being written by
    another process.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 (a link is replaced, not followed)
    check_free(out, overwrite, inputs)
    work = out.parent / f".{out.name}.merging"
    _make(work, out)
    lock = os.open(work / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _hold(lock, out)
        try:
            _clear(work)
            yield work
            (work / _LOCK).unlink()
            _put(work, out, overwrite)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def _make(work: Path, out: Path) -> None:
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise MergeError(f'cannot make the folder "{out}": {error.strerror}; choose another place') from None


def check_free(out: Path, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Raise :class:`MergeError` where something that is not an empty folder stands at ``out``.

    With ``overwrite`` a former merge is no obstacle, anything else still is: no slip of the pen deletes a home folder.
    """
    if not out.exists() and not out.is_symlink():
        return
    for place in inputs:
        if overwrite and place.resolve().is_relative_to(out.resolve()):
            raise MergeError(f'"{out}" is, or holds, the model "{place}" and is not replaced: choose another name')
    if out.is_dir() and not out.is_symlink() and (not any(out.iterdir()) or (overwrite and (out / BILL).is_file())):
        return
    if overwrite:
        why = "is a link" if out.is_symlink() else f"is not the folder of a former merge (it has no {BILL})"
        raise MergeError(f'"{out}" {why} and is not replaced: choose another name')
    raise MergeError(f'"{out}" exists already: choose another name, or replace a former merge with --overwrite')


def _hold(lock: int, out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MergeError(f'another process is writing "{out}": wait for it, or choose another name') from None


def _clear(work: Path) -> None:
    """What a killed run left."""
    for path in work.iterdir():
        if path.name != _LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _put(work: Path, out: Path, overwrite: bool) -> None:
    _sync_folder(work)
    former = out.parent / f".{out.name}.former"
    if overwrite and out.exists():
        shutil.rmtree(former, ignore_errors=True)
        out.rename(former)
    work.rename(out)  # an empty folder of that name is replaced
    _sync_folder(out.parent)
    shutil.rmtree(former, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
