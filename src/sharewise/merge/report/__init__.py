"""The bill of a merge as a page: one file that answers first, shows the evidence after, and needs no network.

Everything on it comes from the bill as ``merge.json`` holds it; nothing is read from elsewhere.
"""

from ._page import render, write_bill

__all__ = ["render", "write_bill"]
