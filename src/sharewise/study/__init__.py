"""Comparing strategies honestly: arms x seeds, statistics, advice, the page."""

from ._advise import Advice, advise
from ._plan import ARMS, Plan, parse_seeds
from ._study import make_plan, run_plan, study
from .results import StudyResult

__all__ = ["ARMS", "Advice", "Plan", "StudyResult", "advise", "make_plan", "parse_seeds", "run_plan", "study"]
