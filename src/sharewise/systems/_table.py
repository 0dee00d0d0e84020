"""Where each system lives: its id and its module below :mod:`sharewise.systems`.

A table, so that listing the systems imports none of them. The module named here must import fast: what is
heavy (torch, polars, scikit-learn, the system's own network) is imported inside ``arms``.
"""

from __future__ import annotations

WHERE: dict[str, str] = {
    "aim": "molecules.aim",
    "aim-moleculenet": "molecules.aim_moleculenet",
    "bmm": "merging.bmm",
    "crop-hybrid": "crops.crop_hybrid",
    "emtl": "balancing.emtl",
    "gcond": "balancing.gcond",
    "m2a": "merging.m2a",
    "madam": "optimizers.madam",
    "model-merging": "merging.model_merging",
    "model-merging-emoji": "merging.model_merging_emoji",
    "model-merging-text": "merging.model_merging_text",
    "ras": "representation.ras",
    "sage": "optimizers.sage",
    "sage-speakers": "optimizers.sage_speakers",
    "son-goku": "scheduling.son_goku",
    "switchmt": "agents.switchmt",
}
