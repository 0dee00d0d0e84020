"""Our reading of SAGE: an ascent that probes all directions alike, and noise where distributions disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..balance import Balance, TaskRows
from ..errors import BalanceError, OptionError, nearest
from ._disagreement import disagreement
from ._perturb import gradient_steps, length
from ._polar import PolarMethod, polar
from ._sam import SAM, check_size


class SAGE(SAM):
    """A step by the balanced gradient at a point above, plus noise in proportion to how much the tasks disagree there.

    1. The mean gradient at theta in one backward pass; for each matrix-shaped parameter (out x everything else) its
       polar factor P: theta' = theta + rho P / sqrt(total rank); other parameters by ``rho g / |g|`` as in SAM.
    2. The tasks' gradients at theta', balanced; ``s^2 = (1/N) sum_i |g_i' - mean|^2``.
    3. Back at theta, the optimizer's step by the balanced gradient plus noise ``N(0, sigma^2 s^2 / d)`` in each of d
       entries, so that its length is about ``sigma s``.

    Steps are taken as with :class:`SAM`, and with ``rows=optimizer.rows(names)``. ``last`` has the ``disagreement`` s,
    the lengths of ``ascent`` and ``noise``, and the ``rank`` of the ascent, of the last step (scalar tensors).

    **Our reading** of Ballas and Diou, "Flatness and Gradient Alignment Are Both Necessary: Spectral-Aware
    Gradient-Aligned Exploration for Multi-Distribution Learning", 2026 (arXiv 2605.07914), of which the abstract alone
    was read. Every formula above is an assumption, and every scale an option.

    Args:
        optimizer: takes the step.
        rho: radius of the ascent; 0: none, in one pass.
        sigma: size of the noise; 0: none. With both 0 this is the optimizer alone, bit for bit.
        ascent: ``"polar"``, or ``"gradient"`` for that of SAM.
        scale: ``"global"``: the ascent of all matrices together has length rho, as SAM's; ``"layer"``: each has
            singular values rho.
        vectors: other parameters are moved by ``"gradient"``, or not at all: ``"none"``.
        method, steps, cutoff: of :func:`polar`.
        noise: ``"disagreement"`` as above; ``"constant"``: of length sigma; ``"gradient"``: sigma times the length of
            the gradient.
        estimate: of s^2: ``"batch"``, of the gradients as they are, with the noise of the batch in them; ``"between"``:
            from products between the batches of an accumulated step, without it (negative estimates count as 0).
        per_layer: s and the noise parameter by parameter.
        noise_on: ``"all"`` parameters with a gradient, or the ``"shared"`` ones.
        seed: of the generator of the noise, whose state is saved.

    The disagreement is multiplied by the sum of the balancer's weights, where it has any, so that sigma means the same
    for balancers that add and for those that average.

    Raises :class:`OptionError` for options out of range; :class:`BalanceError` in :meth:`step` where rows are missing.
    Cost: two forward passes, 1 + N backward passes (methods on losses: 2 + N), and the polar factors.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        rho: float = 0.05,
        sigma: float = 0.1,
        ascent: Literal["polar", "gradient"] = "polar",
        scale: Literal["global", "layer"] = "global",
        vectors: Literal["gradient", "none"] = "gradient",
        method: PolarMethod = "quintic",
        steps: int | None = None,
        cutoff: float | None = None,
        noise: Literal["disagreement", "constant", "gradient"] = "disagreement",
        estimate: Literal["batch", "between"] = "batch",
        per_layer: bool = False,
        noise_on: Literal["all", "shared"] = "all",
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, rho=rho)
        self.sigma = check_size("sigma", sigma)
        self.ascent = _one_of("ascent", ascent, ("polar", "gradient"))
        self.scale = _one_of("scale", scale, ("global", "layer"))
        self.vectors = _one_of("vectors", vectors, ("gradient", "none"))
        self.noise = _one_of("noise", noise, ("disagreement", "constant", "gradient"))
        self.estimate = _one_of("estimate", estimate, ("batch", "between"))
        self.noise_on = _one_of("noise_on", noise_on, ("all", "shared"))
        if per_layer and (noise != "disagreement" or estimate != "batch"):
            raise OptionError('per_layer needs noise="disagreement" and estimate="batch"')
        self.per_layer = per_layer
        self._polar: dict[str, Any] = {"method": method, "steps": steps, "cutoff": cutoff}
        polar(torch.zeros(1, 1), **self._polar)  # raises for options that do not go together
        self.generator = torch.Generator().manual_seed(seed)
        self.last: dict[str, Tensor] = {}

    def rows(self, names: Sequence[str]) -> list[str]:
        """All tasks, where there is noise by their disagreement (or by place); else none."""
        needed = self.sigma > 0 and (self.noise == "disagreement" or self.noise_on == "shared")
        return list(names) if needed else super().rows(names)

    def _ascent(self) -> list[tuple[Tensor, Tensor]]:
        steps = gradient_steps(self._parameters(), self.rho)
        if self.ascent == "polar":
            factors = [polar(g.flatten(1), **self._polar).view_as(g) if g.dim() > 1 else None for _, g in steps]
            ranks = sum((f.square().sum() for f in factors if f is not None), torch.zeros(()))
            size = self.rho if self.scale == "layer" else self.rho / ranks.sqrt().clamp_min(1e-30)
            self.last["rank"] = ranks
            steps = [
                (p, f * size if f is not None else g)
                for (p, g), f in zip(steps, factors, strict=True)
                if f is not None or self.vectors == "gradient"
            ]
        self.last["ascent"] = length([step for _, step in steps])
        return steps

    @torch.no_grad()
    def step(self, balance: Balance | None = None) -> None:  # type: ignore[override]
        """Add the noise to ``.grad``, and step. ``balance`` is what ``backward`` returned within :meth:`perturbed`."""
        if self.sigma > 0 and (balance is None or balance.names):
            if self.noise != "disagreement" and self.noise_on == "all":
                self._add([(self._with_gradient(), self._length(None))])
            else:
                self._add(self._noised(balance))
        super().step(balance)

    def _with_gradient(self) -> list[Tensor]:
        return [p for p in self._parameters() if p.grad is not None]

    def _noised(self, balance: Balance | None) -> list[tuple[list[Tensor], Tensor]]:
        """Parameters and how long the noise on them is to be."""
        held = [] if balance is None else list(balance.groups.values() or [balance])
        parts = [(b, b.rows) for b in held if b.rows is not None]
        if not parts:
            raise BalanceError(
                "SAGE needs the tasks' gradients: call backward(..., rows=optimizer.rows(list(losses))) before the step"
            )
        if self.per_layer:
            layers = [(p, _layer_gram(r), b) for b, rows in parts for p, r in rows.parameters()]
            return [([p], self.sigma * self._apart(gram) * _total(b)) for p, gram, b in layers if p.grad is not None]
        shared = {p for _, rows in parts for p, _ in rows.parameters()} if self.noise_on == "shared" else None
        chosen = [p for p in self._with_gradient() if shared is None or p in shared]
        return [(chosen, self._length(parts))]

    def _length(self, parts: Sequence[tuple[Balance, TaskRows]] | None) -> Tensor:
        if self.noise == "constant":
            return torch.tensor(self.sigma)
        if self.noise == "gradient":
            return self.sigma * length([p.grad for p in self._with_gradient() if p.grad is not None])
        assert parts is not None
        squares = [(self._apart(self._gram(rows)) * _total(b)) ** 2 for b, rows in parts]
        return self.sigma * torch.stack(squares).sum().sqrt()

    def _gram(self, rows: TaskRows) -> Tensor:
        return rows.between() if self.estimate == "between" else rows.gram()

    def _apart(self, gram: Tensor) -> Tensor:
        return disagreement(gram).clamp_min(0).sqrt()

    def _add(self, noised: Sequence[tuple[list[Tensor], Tensor]]) -> None:
        drawn = []
        for parameters, size in noised:
            count = sum(p.numel() for p in parameters)
            if not bool(size.isfinite() & (size > 0)):
                continue
            for p in parameters:
                assert p.grad is not None
                xi = torch.randn(p.shape, generator=self.generator, dtype=torch.float32).to(p.grad)
                xi *= (size / count**0.5).to(xi)
                p.grad.add_(xi)
                drawn.append(xi)
        sizes = torch.stack([size.double().cpu() for _, size in noised])
        self.last["noise"] = length(drawn)
        if self.noise == "disagreement":
            self.last["disagreement"] = sizes.square().sum().sqrt() / self.sigma

    def _own_state(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def _take_state(self, own: Mapping[str, Any]) -> None:
        self.generator.set_state(own["generator"].cpu())


def _layer_gram(rows: Tensor) -> Tensor:
    flat = rows.flatten(1).double()
    return flat @ flat.T


def _total(balance: Balance) -> Tensor | float:
    return 1.0 if balance.weight_vector is None else balance.weight_vector.sum().abs()


def _one_of(name: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise OptionError(f'{name} "{value}" is not known; {nearest(str(value), known)}')
    return value
