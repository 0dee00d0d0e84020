"""Bayesian model merging over state dicts in memory: many settings tried, each at the cost of a few products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import MergeError, nearest
from ._layers import place_of
from ._needs import declare
from ._posterior import Posterior, blend, shrunk, task_vector_gram
from .methods._spectral import is_matrix

State = Mapping[str, Tensor]
Precision = float | Mapping[str, float]


@declare(base="optional", data="`collect_gram`, or none")
class BayesianMerge:
    """Linear layers as posterior means, with another merge of the same models as their prior mean.

    Li et al., "Bayesian model merging" (arXiv 2605.12843). Every layer solves a ridge regression on the experts'
    outputs that is pulled to the anchor: strongly where ``precision`` is high, not at all at 0 (RegMean). What is no
    weight of a linear layer comes from the anchor.

    Args:
        experts: state dicts by name.
        anchor: any merge of them.
        grams: each expert's Gram matrices (:func:`~sharewise.merge.collect_gram`), by expert and name of the weight; a
            layer that none of them has keeps the anchor's weight. Where they were collected with ``bias=True``, weights
            and biases are solved for together.
        base: the model all were fine-tuned from, which ``scale`` and :meth:`from_task_vectors` need.
        weights: how much each expert counts, by name; 1 by default.
        off_diagonal: what entries off the Gram matrices' diagonals are multiplied by.

    Memory: of every layer two matrices, and the squares of its number of inputs, in float64; O(in^3) time a layer to
    build, O(out in^2) a setting. Raises :class:`~sharewise.errors.MergeError` for experts without Gram matrices, and
    matrices of another size than the layer's, named.
    """

    def __init__(
        self,
        experts: Mapping[str, State],
        anchor: State,
        grams: Mapping[str, State],
        *,
        base: State | None = None,
        weights: Mapping[str, float] | None = None,
        off_diagonal: float = 1.0,
    ) -> None:
        missing = [name for name in experts if name not in grams]
        if missing or not experts:
            raise MergeError(
                f'model "{missing[0]}" has no Gram matrices: collect them with sw.merge.collect_gram, or build from '
                "BayesianMerge.from_task_vectors" if missing else "no model was given to merge"
            )  # fmt: skip
        self.anchor, self.base = anchor, base
        counted = [1.0 if weights is None else float(weights.get(name, 1.0)) for name in experts]
        if min(counted) < 0 or sum(counted) <= 0:
            raise MergeError(f"weights must be at least 0 and not all 0, found {counted}")
        self._posteriors: dict[str, Posterior] = {}
        for tensor in _solved(anchor, grams):
            found = [shrunk(_gram(grams, name, tensor, anchor).double(), off_diagonal) for name in experts]
            joined = found[0].shape[0] > anchor[tensor].shape[1]
            matrices = [_matrix(state, tensor, joined) for state in experts.values()]
            self._posteriors[tensor] = Posterior.of(matrices, found, _matrix(anchor, tensor, joined), counted)

    @classmethod
    def from_task_vectors(
        cls,
        experts: Mapping[str, State],
        anchor: State,
        base: State,
        *,
        grams: Mapping[str, State] | None = None,
        share: float = 0.0,
        bias: bool = False,
        weights: Mapping[str, float] | None = None,
        off_diagonal: float = 1.0,
    ) -> BayesianMerge:
        """Without data, Gram matrices guessed from task vectors (:func:`task_vector_gram`); or with few.

        ``share`` of the Gram matrices given (the rest guessed; each of trace 1, so tasks count alike) is the hybrid for
        a handful of examples. ``bias``: as in :func:`~sharewise.merge.collect_gram`; follows ``grams`` where given.
        """
        if share and grams is None:
            raise MergeError(f"share is {share:g} of Gram matrices that were not given: pass grams")
        if not 0 <= share <= 1:
            raise MergeError(f"share must be from 0 to 1, found {share:g}")
        guessed: dict[str, dict[str, Tensor]] = {}
        for name, state in experts.items():
            guessed[name] = {}
            for tensor in (t for t in anchor if is_matrix(t, tuple(anchor[t].shape))):
                given = None if grams is None else _gram(grams, name, tensor, anchor)
                joined = bias and _bias_of(tensor) in anchor
                if given is not None:
                    joined = given.shape[0] > anchor[tensor].shape[1]
                guess = task_vector_gram(_matrix(state, tensor, joined) - _matrix(base, tensor, joined))
                guessed[name][tensor] = guess if given is None else blend(given.double(), guess, share)
        return cls(experts, anchor, guessed, base=base, weights=weights, off_diagonal=off_diagonal)

    @property
    def tensors(self) -> list[str]:
        """The weights that are solved for."""
        return list(self._posteriors)

    def merged(self, precision: Precision = 1.0, scale: float = 1.0) -> dict[str, Tensor]:
        """The posterior mean.

        Args:
            precision: ``lambda`` over ``tr(sum_t a_t G_t) / in``, of all layers or by name of the weight; from 0
                (RegMean) to infinity (the anchor).
            scale: what the merged task vector is multiplied by; other than 1 it needs ``base``.

        Returns new tensors in the anchor's dtypes.
        """
        return self._state({t: p.mean(self._of(precision, t)) for t, p in self._posteriors.items()}, scale)

    def sample(
        self, precision: Precision = 1.0, *, rows: float, generator: torch.Generator, scale: float = 1.0
    ) -> dict[str, Tensor]:
        """One model drawn from the posterior; predictions averaged over several allow for what is not known.

        ``rows``: how many inputs each Gram matrix is a mean over. The noise is estimated from how far the mean's
        outputs are from the experts'.
        """
        drawn = {t: p.sample(self._of(precision, t), rows, generator) for t, p in self._posteriors.items()}
        return self._state(drawn, scale)

    def _of(self, precision: Precision, tensor: str) -> float:
        if isinstance(precision, Mapping):
            if tensor not in precision:
                raise MergeError(f'no precision is given for "{tensor}"; {nearest(tensor, precision)}')
            precision = precision[tensor]
        if not precision >= 0:
            raise MergeError(f'precision must be at least 0, found {precision} for "{tensor}"')
        return float(precision)

    def _state(self, solved: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
        state = {name: value.detach().clone() for name, value in self.anchor.items()}
        for tensor, matrix in solved.items():
            columns = state[tensor].shape[1]
            state[tensor] = matrix[:, :columns].to(state[tensor].dtype)
            if matrix.shape[1] > columns:
                state[_bias_of(tensor)] = matrix[:, -1].to(state[_bias_of(tensor)].dtype)
        if scale == 1:
            return state
        if self.base is None:
            raise MergeError("scale multiplies what is added to the base: pass base")
        return {
            name: value if not value.is_floating_point() else self.base[name] + scale * (value - self.base[name])
            for name, value in state.items()
        }


def _bias_of(tensor: str) -> str:
    return f"{tensor.removesuffix('weight')}bias"


def _matrix(state: State, tensor: str, joined: bool) -> Tensor:
    """A layer's weight, float64, with its bias as the last column if ``joined``."""
    weight = state[tensor].double()
    return torch.cat([weight, state[_bias_of(tensor)].double().unsqueeze(1)], 1) if joined else weight


def _solved(anchor: State, grams: Mapping[str, State]) -> list[str]:
    return [t for t, v in anchor.items() if is_matrix(t, tuple(v.shape)) and any(t in g for g in grams.values())]


def _gram(grams: Mapping[str, State], model: str, tensor: str, anchor: State) -> Tensor:
    if model not in grams or tensor not in grams[model]:
        raise MergeError(f'model "{model}" has no Gram matrix of "{tensor}": collect it with sw.merge.collect_gram')
    found, columns = grams[model][tensor], anchor[tensor].shape[1]
    sizes = (columns, columns + 1) if _bias_of(tensor) in anchor else (columns,)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or found.shape[0] not in sizes:
        raise MergeError(
            f'the Gram matrix of "{tensor}" of model "{model}" is {list(found.shape)}, expected '
            f"[{columns}, {columns}], or one more where biases are solved for too"
        )
    return found


def module_groups(tensors: Sequence[str], parts: int = 3) -> dict[str, str]:
    """Tensor -> a name that layers of one kind and one part of the depth share: ``layers.*.fc.weight 1/3``.

    >>> module_groups(["h.0.fc.weight", "h.1.fc.weight", "pool.weight"], 2)
    {'h.0.fc.weight': 'h.*.fc.weight 1/2', 'h.1.fc.weight': 'h.*.fc.weight 2/2', 'pool.weight': 'pool.weight'}
    """
    places = {t: place_of(t) for t in tensors}
    layers: dict[str, list[int]] = {}
    for place in places.values():
        if place is not None:
            layers.setdefault(f"{place.prefix}*.{place.rest}", []).append(place.layer)
    groups = {}
    for tensor, place in places.items():
        if place is None:
            groups[tensor] = tensor
            continue
        kind = f"{place.prefix}*.{place.rest}"
        several = sorted(set(layers[kind]))
        part = several.index(place.layer) * min(parts, len(several)) // len(several)
        groups[tensor] = f"{kind} {part + 1}/{min(parts, len(several))}"
    return groups
