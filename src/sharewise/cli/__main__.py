"""``python -m sharewise.cli``."""

from . import main

main()
