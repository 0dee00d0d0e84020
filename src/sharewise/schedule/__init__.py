"""Which tasks train when: one schedule a file."""

from ._all import AllTasks
from ._change import ChangeTracker, relative_change
from ._colouring import colour
from ._conflict_graph import conflicts, cosines
from ._curriculum import Curriculum
from ._plateau_switch import PlateauSwitch
from ._random import RandomTasks
from ._registry import available, create, options
from ._round_robin import RoundRobin
from ._sampled import Sampled
from ._schedule import Schedule
from ._signal import Gradients, Signal
from ._son_goku import Refresh, SonGoku
from ._switch import FixedSwitch, Switch, Visits
from ._temperature import Proportional, SquareRoot, Temperature
from ._ucb import UCB

__all__ = [
    "UCB",
    "AllTasks",
    "ChangeTracker",
    "Curriculum",
    "FixedSwitch",
    "Gradients",
    "PlateauSwitch",
    "Proportional",
    "RandomTasks",
    "Refresh",
    "RoundRobin",
    "Sampled",
    "Schedule",
    "Signal",
    "SonGoku",
    "SquareRoot",
    "Switch",
    "Temperature",
    "Visits",
    "available",
    "colour",
    "conflicts",
    "cosines",
    "create",
    "options",
    "relative_change",
]
