"""Where a plan's models are, and that a plan does not lead out of the folder it was given."""

from __future__ import annotations

from pathlib import Path

from ..errors import MergeError


def locate(written: str, root: Path, allow_outside: bool = False) -> Path:
    """The path of a model as a plan writes it: absolute, or relative to ``root``.

    Raises :class:`MergeError` for a relative path that leaves ``root``, by ``..`` or through a symbolic link, unless
    ``allow_outside``. An absolute path says openly where it leads and is taken as it is.
    """
    path = Path(written).expanduser()
    if path.is_absolute():
        return path
    inside, found = root.resolve(), (root / path).resolve()
    if not allow_outside and not found.is_relative_to(inside):
        raise MergeError(
            f'the model "{written}" leads out of "{root}" (to "{found}"): write the whole path, or allow it with '
            "--allow-outside"
        )
    return root / path
