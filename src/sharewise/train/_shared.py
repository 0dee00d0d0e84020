"""What is shared in a run, and in which groups it is decided on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..balance import Balancer, layers
from ..balance._shared import Parameters, Shared
from ..data import Source
from ..errors import ModelError, OptionError
from ..tasks import Task
from ._random import aside

Named = Parameters | Mapping[str, Parameters]
Given = Literal["layers"] | Named | Callable[[nn.Module], Named]
"""What :func:`sharewise.fit` takes for ``shared``."""
Found = list[Tensor] | dict[str, list[Tensor]]
"""The shared parameters, or those of each group."""


def name_shared(
    given: Given | None, model: nn.Module, tasks: Sequence[Task], source: Source, balancer: Balancer
) -> Found | None:
    """The shared parameters that ``fit`` was told of; ``None`` where they are to be found.

    Raises :class:`OptionError` for a word that is not known, and for groups where the balancer decides once for all;
    :class:`ModelError` for parameters that are not the model's, or in two groups, and for a group with none to train.
    """
    if given is None:
        return None
    if isinstance(given, str):
        chosen: Named = _by_layer(given, model, tasks, source)
    elif callable(given) and not isinstance(given, nn.Module):
        chosen = given(model)
    else:
        chosen = given
    shared = Shared.of(chosen)
    names = {id(p): name for name, p in model.named_parameters()}
    for p in shared.parameters or ():
        if id(p) not in names:
            where = f', group "{shared.labels[id(p)]}",' if shared.labels else ""
            raise ModelError(
                f"shared{where} holds a parameter of shape {list(p.shape)} that the model to train does not have: take "
                "parameters or modules of that very model, or give a function of the model"
            )
    trained = [p for p in shared.parameters or () if p.requires_grad]
    if not isinstance(chosen, Mapping):
        return _some(trained, "shared")
    if balancer.needs == "losses":
        raise OptionError(
            f"{type(balancer).__name__} weighs the losses, once for all parameters, so groups in shared would change "
            "nothing: leave them out, or take a balancer that decides by gradients, such as pcgrad"
        )
    _some(trained, "shared")
    return {name: _some([p for p in trained if shared.labels[id(p)] == name], f'group "{name}"') for name in chosen}


def _some(parameters: list[Tensor], what: str) -> list[Tensor]:
    if not parameters:
        raise ModelError(f"{what} has no parameter that is trained: name others, or thaw them (requires_grad_())")
    return parameters


def _by_layer(word: str, model: nn.Module, tasks: Sequence[Task], source: Source) -> dict[str, list[nn.Parameter]]:
    if word != "layers":
        raise OptionError(
            f'shared "{word}" is not known: give "layers", or parameters, a module, a mapping from group names to '
            "either, or a function of the model that returns one of these"
        )
    shared = {id(p) for p in find_shared(model, tasks, source)}
    kept = {name: [p for p in own if id(p) in shared] for name, own in layers(model).items()}
    return {name: own for name, own in kept.items() if own}


def find_shared(model: nn.Module, tasks: Sequence[Task], source: Source) -> list[Tensor]:
    """What the model says is shared, or else what two or more of all the tasks reach: a step of few cannot tell.

    Cost: nothing, or a forward pass of two examples and a backward pass a task.
    """
    known = getattr(model, "shared_parameters", None)
    if known is not None:
        return list(known())
    device = next(model.parameters()).device
    with aside(model, device):
        raw = model(next(iter(source.batches(2))).to(device).inputs)
        return reached_by_two({task.name: raw[task.name].sum() for task in tasks}, model)


def reached_by_two(outputs: Mapping[str, Tensor], model: nn.Module) -> list[Tensor]:
    """The parameters that two or more scalars depend on; all that any does where there is one scalar.

    Cost: a backward pass a scalar.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    reached = [0] * len(parameters)
    for output in outputs.values():
        found = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
        reached = [count + (gradient is not None) for count, gradient in zip(reached, found, strict=True)]
    least = min(2, len(outputs))
    return [p for p, count in zip(parameters, reached, strict=True) if count >= least]
