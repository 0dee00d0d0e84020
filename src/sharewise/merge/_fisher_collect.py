"""The diagonal of the Fisher information, from gradients of single examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ..data import map_tensors
from ..errors import MergeError
from ._running import Arguments, arguments, evaluating, logits_of
from ._statistics import Statistics

Parameters = dict[str, Tensor]


def collect_fisher(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    task: str | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Statistics:
    """Diagonal of the Fisher information of every parameter, for ``fisher``.

    ``F = E_x E_{y ~ p(y|x)} (d log p(y|x) / d theta)^2``, with the model's own prediction as ``p``: no labels are used
    (Matena and Raffel, NeurIPS 2022, arXiv 2111.09832, section 3; the "empirical" Fisher, with given labels, is
    another quantity).

    Args:
        model: returns logits ``[B, classes]`` (``[B]`` or ``[B, 1]`` for a binary task), an output with ``.logits``, or
            predictions by task. In evaluation mode while it runs. Examples must not depend on each other.
        batches: as for :func:`collect_gram`. A few hundred examples are enough.
        task: whose logits, where the model predicts several tasks.
        samples: how many labels are drawn an example; ``None``: the exact sum over the classes.
        seed: of the draws.

    Returns float64 tensors of the parameters' shapes. Raises :class:`~sharewise.errors.MergeError` for outputs that are
    no logits and for values that are not finite. Memory: the parameters times the batch's examples; time: one forward
    and one backward pass an example and class (or draw).
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())
    generator = torch.Generator().manual_seed(seed)
    totals = {name: torch.zeros(p.shape, dtype=torch.float64, device=p.device) for name, p in parameters.items()}
    count = 0

    def one(values: Parameters, inputs: Arguments) -> Tensor:
        args, kwargs = map_tensors(inputs, lambda t: t.unsqueeze(0))
        return logits_of(functional_call(model, (values, buffers), args, kwargs), task)[0].log_softmax(-1)

    def chosen(values: Parameters, inputs: Arguments, label: Tensor) -> Tensor:
        return one(values, inputs).gather(-1, label.unsqueeze(-1)).squeeze(-1)

    gradients = vmap(grad(chosen), (None, 0, 0))
    with evaluating(model):
        for batch in batches:
            inputs = arguments(batch)
            with torch.no_grad():
                chances = vmap(one, (None, 0))(parameters, inputs).exp()
            for label, share in _labels(chances, samples, generator):
                _add(totals, gradients(parameters, inputs, label), share)
            count += len(chances)
    return _means(model, totals, count)


def _labels(chances: Tensor, samples: int | None, generator: torch.Generator) -> Iterable[tuple[Tensor, Tensor]]:
    """Pairs of labels ``[B]`` and what each counts ``[B]``, for chances ``[B, classes]``."""
    if samples is None:
        for label in range(chances.shape[1]):
            yield torch.full((len(chances),), label, device=chances.device), chances[:, label]
        return
    drawn = torch.multinomial(chances.cpu(), samples, replacement=True, generator=generator).to(chances.device)
    for i in range(samples):
        yield drawn[:, i], torch.full_like(chances[:, 0], 1 / samples)


def _add(totals: dict[str, Tensor], gradients: Parameters, share: Tensor) -> None:
    for name, gradient in gradients.items():
        totals[name] += torch.tensordot(share.double(), gradient.double().square(), 1)


def _means(model: nn.Module, totals: dict[str, Tensor], count: int) -> Statistics:
    if count == 0:
        raise MergeError("no batch was given to collect Fisher information from")
    means = {name: (total / count).cpu() for name, total in totals.items()}
    for name, mean in means.items():
        if not bool(mean.isfinite().all()):
            raise MergeError(f'the gradients of parameter "{name}" are not finite: check the model and the batches')
    # A parameter that two modules share has one entry under each of its names, as in a state dict.
    first: dict[int, str] = {id(p): name for name, p in model.named_parameters()}
    every = {name: means[first[id(p)]] for name, p in model.named_parameters(remove_duplicate=False)}
    return Statistics("fisher", every, dict.fromkeys(every, count))
