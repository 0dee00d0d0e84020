"""Newton's method for the equations of proportional and of alpha-fair weights: convex, so the solution is unique."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 200  # as a rule 5 to 15; some 40 next to a Pareto-stationary point
_TOLERANCE = 1e-11
_ROUNDING = 4e-16


def fair(matrix: Tensor, scale: Tensor, power: float) -> Tensor:
    """``v > 0`` with ``matrix v = scale v^-power``, entry by entry: ``[m]`` float64.

    This is where the strictly convex ``v^T matrix v / 2 - sum_i scale_i h(v_i)`` is smallest, with ``h`` the integral
    of ``v^-power`` (the logarithm for 1). Newton's method from ones, each step shortened to keep 1 % of every entry
    and until the function falls as far as a part of its slope promises.

    Residual: ``|matrix v - scale v^-power| <= 1e-11 scale v^-power`` plus the rounding of ``matrix v``, in each entry.

    Args:
        matrix: ``[m, m]`` float64, positive definite.
        scale: ``[m]``, positive; the solution is near ones where it is near the matrix' diagonal.
        power: above 0.

    Cost O(m^3) a step.
    """
    size = matrix.abs() * (_ROUNDING * len(matrix))
    v = torch.ones_like(scale)
    value = _value(matrix, scale, power, v)
    for _ in range(_STEPS):
        pull = scale * v**-power
        gradient = matrix @ v - pull
        if bool((gradient.abs() <= _TOLERANCE * pull + size @ v).all()):
            break
        hessian = matrix.clone()
        hessian.diagonal().add_(power * pull / v)
        step = -torch.cholesky_solve(gradient[:, None], torch.linalg.cholesky_ex(hessian).L)[:, 0]
        slope, inward = torch.stack([gradient @ step, (-step / v).amax()]).tolist()
        length = min(1.0, 0.99 / inward) if inward > 0 else 1.0
        while length > 1e-8:
            tried = v + length * step
            after = _value(matrix, scale, power, tried)
            # where the fall is lost in the rounding of the value, Newton's full step is the better judge
            if after <= value + 1e-4 * length * slope or -slope < 1e-12 * abs(value):
                break
            length /= 2
        v, value = tried, after
    return v


def _value(matrix: Tensor, scale: Tensor, power: float, v: Tensor) -> float:
    integral = v.log() if power == 1 else v ** (1 - power) / (1 - power)
    return float(v @ (matrix @ v) / 2 - scale @ integral)
