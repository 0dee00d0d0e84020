"""The command as a process of its own ends at once, but not before what has to be done is done."""

from __future__ import annotations

import os
import subprocess
import sys


def ran(before: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = {['sharewise', *words]!r}\n{before}\nfrom sharewise.cli import run\nrun()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))


def test_handlers_run_and_output_is_whole() -> None:
    found = ran("import atexit; atexit.register(lambda: sys.stdout.write('last words'))", "merge", "--help")
    assert found.returncode == 0 and found.stdout.endswith("last words") and "--dry-run" in found.stdout


def test_misuse_is_told_by_the_code() -> None:
    found = ran("", "merge", "nowhere.yaml")
    assert found.returncode == 2 and found.stderr.startswith("error:")


def test_a_bug_shows_itself() -> None:
    found = ran("import sharewise.cli._app as a; a.app = lambda *_, **__: 1 / 0")
    assert found.returncode == 1 and "ZeroDivisionError" in found.stderr


def test_threads_are_waited_for_unless_they_are_daemons() -> None:
    daemon = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert ran(daemon, "merge", "--nothing").returncode == 2  # though it never ends
    work = "import threading, time; done = lambda: (time.sleep(0.5), print('done', flush=True))"
    found = ran(f"{work}\nthreading.Thread(target=done).start()", "merge", "--nothing")
    assert found.returncode == 2 and "done" in found.stdout
