"""The command line."""

from __future__ import annotations

import errno
import sys

from ..errors import SharewiseError
from ._process import leave


def main(arguments: list[str] | None = None) -> None:
    """Run ``sharewise``; ends the process with code 0 (fine), 1 (ran, and the answer is no) or 2 (misuse)."""
    from ._app import app

    try:
        code = app(arguments, prog_name="sharewise", standalone_mode=False)
    except SharewiseError as error:
        code = _fail(str(error))
    except KeyboardInterrupt:
        code = _fail("stopped; what was finished is kept, the same command continues", 130)
    except OSError as error:
        code = _file(error)
    except Exception as error:
        code = _usage(error)
    sys.exit(code if isinstance(code, int) else 0)


def run() -> None:
    """:func:`main` as a process of its own, which it ends."""
    try:
        main()
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else 0)


def _file(error: OSError) -> int:
    """What the system refused: named by its file; without one it is a bug and shows itself."""
    if error.errno == errno.ENOSPC:
        return _fail("the disk is full; what was finished is kept: make room, and the same command continues")
    name = error.filename2 or error.filename
    if name is None:
        raise error
    return _fail(f'"{name}" cannot be used: {error.strerror}; give another path, or change this one')


def _usage(error: Exception) -> int:
    """Wrong words on the command line, as Click reports them; anything else is a bug and shows itself."""
    if not hasattr(error, "format_message"):
        raise error
    context = getattr(error, "ctx", None)
    hint = f" (see: {context.command_path} --help)" if context else ""
    return _fail(f"{error.format_message()}{hint}")


def _fail(message: str, code: int = 2) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code
