"""Users whose linear tasks drift, switch, come and go: the convex stand-in of the system ``emtl``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...errors import OptionError

Array = npt.NDArray[np.float64]
Change = Literal["drift", "switch", "churn"]


@dataclass(frozen=True)
class Users:
    """What ``m`` users want over ``T`` rounds: user i's labels in round t are ``x . targets[t, i] + noise[i] e``.

    ``targets`` [T, m, p]; ``noise`` [m], standard deviations; ``present`` bool [T, m].
    """

    targets: Array
    noise: Array
    present: npt.NDArray[np.bool_]

    @property
    def names(self) -> tuple[str, ...]:
        """ "user 1", ..."""
        return tuple(f"user {i + 1}" for i in range(len(self.noise)))

    def losses(self, x: Array, round_: int) -> Array:
        """Expected losses ``E (x . z - y)^2 / 2`` of the model ``x`` [p] for inputs ``z ~ N(0, I)``, [m]."""
        distance = ((x - self.targets[round_]) ** 2).sum(-1)
        return np.asarray((distance + self.noise**2) / 2)


def drifting_users(
    seed: int,
    rounds: int = 200,
    change: Change = "drift",
    *,
    alike: int = 4,
    others: int = 2,
    p: int = 20,
    spread: float = 0.3,
    walk: float = 0.02,
) -> Users:
    """``alike`` users with nearly the same target and ``others`` with targets of their own.

    User i's target is ``2 b_i`` with a unit vector ``b_i``: those of the alike lie within ``spread`` of a common
    direction, those of the others anywhere. Each round every coordinate of every ``b_i`` takes a step of standard
    deviation ``walk``, and ``b_i`` is put back on the sphere. The others' labels have noise of 0.3, the alike's of 0.1.

    Args:
        change: ``drift``: that alone. ``switch``: besides, every quarter of the horizon the targets change hands
            (a random permutation), so that who is in the minority changes at once. ``churn``: besides, the last user
            joins after a quarter, the first leaves after three quarters, and the one before the last is away in the
            third quarter.

    Raises :class:`OptionError` for an unknown change or fewer than four rounds or two users.
    """
    if change not in ("drift", "switch", "churn"):
        raise OptionError(f'change is {change!r}, expected "drift", "switch" or "churn"')
    if rounds < 4 or alike + others < 2:
        raise OptionError(f"{rounds} rounds and {alike + others} users: expected at least 4 and 2")
    rng = np.random.default_rng(seed)
    common = _unit(rng.standard_normal(p))
    near = common + spread * rng.random((alike, 1)) * _unit(rng.standard_normal((alike, p)))
    b = _unit(np.concatenate([near, rng.standard_normal((others, p))]))
    quarter, m = rounds // 4, alike + others
    targets, present = np.empty((rounds, m, p)), np.ones((rounds, m), dtype=bool)
    for t in range(rounds):
        if change == "switch" and t and t % quarter == 0:
            b = b[rng.permutation(m)]
        targets[t] = 2 * b
        b = _unit(b + walk * rng.standard_normal(b.shape))
    if change == "churn":
        present[:quarter, -1] = False
        present[3 * quarter :, 0] = False
        present[2 * quarter : 3 * quarter, -2] = False
    return Users(targets, np.array([0.1] * alike + [0.3] * others), present)


def _unit(v: Array) -> Array:
    return np.asarray(v / np.linalg.norm(v, axis=-1, keepdims=True))


def hindsight_optimum(users: Users, alpha: float, ceiling: float, limits: tuple[float, float]) -> tuple[Array, float]:
    """The one model ``x`` [p] that would have been fairest over the whole horizon, and its alpha-fairness.

    Maximises ``F_a`` of each user's mean expected utility ``C - L`` over the rounds it was present in. The means are
    concave quadratics in x, so the problem is convex; solved with L-BFGS (SciPy). Utilities are not clipped, which
    changes nothing while they stay within ``limits``: checked at the optimum for every user's mean.
    """
    from scipy.optimize import minimize

    from ...errors import DataError

    weight = users.present / users.present.sum(0)
    centre = np.einsum("ti,tip->ip", weight, users.targets)
    spread = np.einsum("ti,tip->i", weight, users.targets**2) + users.noise**2

    def utilities(x: Array) -> Array:
        return np.asarray(ceiling - (x @ x - 2 * centre @ x + spread) / 2)

    def objective(x: Array) -> tuple[float, Array]:
        u = utilities(x)
        if (u <= 0).any():  # outside the domain: a wall the line search turns back from
            return np.inf, np.zeros_like(x)
        return -welfare(u, alpha), -(u**-alpha) @ (centre - x)

    best = minimize(objective, centre.mean(0), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    reached = utilities(best.x)
    if not ((limits[0] <= reached) & (reached <= limits[1])).all():
        raise DataError(f"the optimum's utilities {reached.round(2)} leave the range {limits}: choose another ceiling")
    return best.x, welfare(reached, alpha)


def welfare(u: Array, alpha: float) -> float:
    """:func:`sharewise.balance.alpha_fairness` of utilities ``[m]``, as a number."""
    import torch

    from ...balance import alpha_fairness

    return float(alpha_fairness(torch.from_numpy(np.asarray(u)), alpha))
