"""Data sets by name: real ones that ship in packages or lie in a folder, and a simulator."""

from ._registry import SetInfo, available, load
from ._simulate import simulate_table

__all__ = ["SetInfo", "available", "load", "simulate_table"]
