"""``python -m sharewise``."""

from .cli import run

run()
