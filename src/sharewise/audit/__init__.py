"""What sharing does: conflict, affinity, groups."""

from ._groups import group_score, propose_groups
from ._probe import SharingProbe, cosines, displacement, lookahead, shared_gradients

__all__ = [
    "SharingProbe",
    "cosines",
    "displacement",
    "group_score",
    "lookahead",
    "propose_groups",
    "shared_gradients",
]
