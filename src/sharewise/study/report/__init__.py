"""The page of a study: one file that answers first, shows the evidence after, and needs no network.

Everything on it comes from a :class:`~sharewise.study.results.StudyResult`; nothing is read
from elsewhere.
"""

from ._page import render, write_report
from ._picture import render_picture, write_picture

__all__ = ["render", "render_picture", "write_picture", "write_report"]
