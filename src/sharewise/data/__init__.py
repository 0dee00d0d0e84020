"""Where examples come from."""

from ._batch import Batch, map_tensors
from ._source import LoaderSource, Source, Splits, TensorSource, epoch_generator

__all__ = ["Batch", "LoaderSource", "Source", "Splits", "TensorSource", "epoch_generator", "map_tensors"]
