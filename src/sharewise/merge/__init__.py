"""One model out of several, without training: plans, a streaming engine, one method a file, and a bill."""

from ._adapters import merge_adapters
from ._bayesian import BayesianMerge, module_groups
from ._bill import table
from ._engine import Engine
from ._evaluate import Evaluator, evaluator
from ._fisher_collect import collect_fisher
from ._forecast import Forecast, forecast
from ._gram_collect import collect_gram
from ._merge import merge, merge_states
from ._method import Block, Method, Parameter, Stack
from ._needs import Needs, needs, needs_table
from ._opened import open_plan
from ._outer import Outcome, Tried, bayesian_search
from ._plan import Plan, load_plan, make_plan
from ._protocol import collect_readouts, protocol_places
from ._reading import Job, Part
from ._readouts import Readouts, keep_readouts
from ._registry import available, method, register
from ._search import Found, Range, Trial, search
from ._soup import Soup, greedy_soup
from ._sources import Source, StateSource, open_source
from ._statistics import Statistics
from .matching import Units, align, match_activations, match_weights, units_of, zip_it
from .mixing import (
    AdaMerged,
    Ensemble,
    Masked,
    Surgery,
    TaskModel,
    TwinMerging,
    WEMoE,
    adamerging,
    regmean_plus_plus,
)

__all__ = [
    "AdaMerged",
    "BayesianMerge",
    "Block",
    "Engine",
    "Ensemble",
    "Evaluator",
    "Forecast",
    "Found",
    "Job",
    "Masked",
    "Method",
    "Needs",
    "Outcome",
    "Parameter",
    "Part",
    "Plan",
    "Range",
    "Readouts",
    "Soup",
    "Source",
    "Stack",
    "StateSource",
    "Statistics",
    "Surgery",
    "TaskModel",
    "Trial",
    "Tried",
    "TwinMerging",
    "Units",
    "WEMoE",
    "adamerging",
    "align",
    "available",
    "bayesian_search",
    "collect_fisher",
    "collect_gram",
    "collect_readouts",
    "evaluator",
    "forecast",
    "greedy_soup",
    "keep_readouts",
    "load_plan",
    "make_plan",
    "match_activations",
    "match_weights",
    "merge",
    "merge_adapters",
    "merge_states",
    "method",
    "module_groups",
    "needs",
    "needs_table",
    "open_plan",
    "open_source",
    "protocol_places",
    "register",
    "regmean_plus_plus",
    "search",
    "table",
    "units_of",
    "zip_it",
]
