"""Which parameters tasks share: architectures."""

from ._activity import Activity
from ._check import check_model
from ._dendrites import ActiveDendriteGate
from ._dsqn import DuelingDSQN
from ._hard import HardSharing, hard_sharing
from ._numeric import LinearEmbedding, PeriodicEmbedding, PiecewiseEmbedding
from ._spiking import IF, LIF
from ._tabular import TabularEncoder, table_model

__all__ = [
    "IF",
    "LIF",
    "ActiveDendriteGate",
    "Activity",
    "DuelingDSQN",
    "HardSharing",
    "LinearEmbedding",
    "PeriodicEmbedding",
    "PiecewiseEmbedding",
    "TabularEncoder",
    "check_model",
    "hard_sharing",
    "table_model",
]
