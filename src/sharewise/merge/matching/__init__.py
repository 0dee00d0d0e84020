"""Models of different starts: their hidden units found again in each other before they are merged."""

from ._rebasin import align, match_activations, match_weights
from ._units import Units, units_of
from ._zipit import zip_it

__all__ = ["Units", "align", "match_activations", "match_weights", "units_of", "zip_it"]
