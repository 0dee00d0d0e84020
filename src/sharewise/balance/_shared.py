"""Which parameters are shared, and in which groups they are decided on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..errors import ModelError

Parameters = Iterable[Tensor] | nn.Module


@dataclass(frozen=True)
class Shared:
    """``parameters``: those given, without repetition, or ``None`` if they are to be found in the graph.
    ``labels``: ``id`` of a parameter -> its group; empty where there is one decision for all.
    """

    parameters: list[Tensor] | None
    labels: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Parameters | Mapping[str, Parameters] | None) -> Shared:
        """From what ``backward`` was given; raises :class:`ModelError` for what cannot be balanced."""
        if given is None:
            return cls(None)
        if not isinstance(given, Mapping):
            return cls(_listed(given))
        labels: dict[int, str] = {}
        parameters = []
        for name, group in given.items():
            for p in _listed(group):
                if labels.setdefault(id(p), name) != name:
                    raise ModelError(f'a parameter is in two groups, "{labels[id(p)]}" and "{name}": leave it in one')
                parameters.append(p)
        return cls(parameters, labels)

    def groups(self, targets: Iterable[Tensor]) -> dict[str, set[int]]:
        """Group -> positions among the targets; empty where there is one decision for all."""
        found: dict[str, set[int]] = {}
        for i, p in enumerate(targets):
            if self.labels:
                found.setdefault(self.labels[id(p)], set()).add(i)
        return found


def layers(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of each layer (submodule with parameters of its own) by its name: groups for ``shared=``.

    ``backward(losses, balancer, shared=layers(trunk))`` decides layer by layer. The module itself is called "".
    A parameter that two layers share belongs to the first.
    """
    found: dict[str, list[nn.Parameter]] = {}
    seen: set[int] = set()
    for name, layer in module.named_modules():
        own = [p for p in layer.parameters(recurse=False) if p.requires_grad and id(p) not in seen]
        seen |= {id(p) for p in own}
        if own:
            found[name] = own
    return found


def _listed(given: Parameters) -> list[Tensor]:
    """A module's ``shared_parameters()``, or else all its parameters; other parameters as they are, once each."""
    if isinstance(given, nn.parallel.DistributedDataParallel):
        raise ModelError(
            "shared is wrapped in DistributedDataParallel, which would average at most the first task's gradient "
            "over processes and let them drift apart: pass the module inside it (.module), never call the wrapper's "
            "forward, and give reducer=MeanReducer()"
        )
    if isinstance(given, nn.Module):
        method = getattr(given, "shared_parameters", given.parameters)
        given = method()
    parameters = list({id(p): p for p in given}.values())
    for p in parameters:
        if not isinstance(p, Tensor):
            raise ModelError(f"shared must hold parameters, got {type(p).__name__}: pass module.parameters()")
    return parameters
