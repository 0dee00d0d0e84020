"""``python -m sharewise``."""

from .cli import main

main()
