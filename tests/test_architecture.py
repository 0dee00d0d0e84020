"""The design's promises about structure, held by reading the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sharewise

ROOT = Path(sharewise.__file__).parent
LEVEL = {
    "errors": 0, "files": 0, "page": 0,
    "tasks": 1,
    "data": 2, "sharing": 2, "balance": 2, "align": 2,
    "schedule": 3, "optim": 3,
    "train": 4,
    "adapt": 5, "merge": 5, "audit": 5,
    "study": 6,
    "systems": 7,
    "cli": 8,
}  # fmt: skip
HEAVY = (
    "polars",
    "sklearn",
    "optuna",
    "plotly",
    "torchmetrics",
    "lightning_fabric",
    "scipy",
    "pandas",
    "typer",
)


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, int]]:
    """(part of the package that is imported, line) for every import of our own in a file."""
    package = ["sharewise", *path.relative_to(ROOT).parts[:-1]]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *(node.module.split(".") if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        found += [(n.split(".")[1], node.lineno) for n in names if n.startswith("sharewise.")]
    return found


SOURCES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.stem in LEVEL)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path: Path) -> None:
    here = part_of(path)
    for other, line in imports(path):
        if other in ("__version__", here):
            continue
        assert LEVEL[other] < LEVEL[here], f"{path.relative_to(ROOT)}:{line} imports {other}, which is not below {here}"


def test_the_check_sees_an_upward_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ROOT / "tasks" / "_made_up.py"
    text = "from ..study import study\nfrom .. import cli\n"
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: text)
    assert {name for name, _ in imports(file)} == {"study", "cli"}


def test_every_folder_has_a_level() -> None:
    parts = {p.name for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert parts <= set(LEVEL)


@pytest.mark.parametrize(
    "module", ["sharewise", "sharewise.cli._app", "sharewise.data", "sharewise.balance", "sharewise.train"]
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = [h for h in HEAVY if not (module.startswith("sharewise.cli") and h == "typer")]
    forbidden = heavy + (["torch"] if module in ("sharewise", "sharewise.cli._app") else [])
    code = f"import sys, {module}; print([m for m in {forbidden!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_all_public_names_exist() -> None:
    for name in sharewise.__all__:
        assert getattr(sharewise, name) is not None
