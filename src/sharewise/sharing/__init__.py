"""Which parameters tasks share: architectures."""

from ._check import check_model
from ._hard import HardSharing, hard_sharing
from ._numeric import LinearEmbedding, PeriodicEmbedding, PiecewiseEmbedding
from ._tabular import TabularEncoder, table_model

__all__ = [
    "HardSharing",
    "LinearEmbedding",
    "PeriodicEmbedding",
    "PiecewiseEmbedding",
    "TabularEncoder",
    "check_model",
    "hard_sharing",
    "table_model",
]
