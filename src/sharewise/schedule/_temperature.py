"""Tasks drawn in proportion to a power of their sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..errors import OptionError
from ._sampled import Sampled
from ._schedule import Starving
from ._shares import check_numbers


class Temperature(Sampled):
    """Tasks drawn with probability ``p_k ~ size_k^(1/T)``.

    ``T = 1`` is in proportion to size, ``T = 2`` to its square root; the larger, the more even. Large tasks keep their
    lead, small ones are seen more than once in the time the large ones are seen once.

    Source: Arivazhagan et al., "Massively Multilingual Neural Machine Translation in the Wild: Findings and
    Challenges", 2019 (arXiv 1907.05019), section 4.2; T = 5 there.

    Args:
        tasks: see :class:`Schedule`.
        sizes: task -> its number of examples; :func:`sharewise.fit` counts them where they are left out.
        temperature: ``T``, above 0.
        count, seed, max_absence, starving: see :class:`Sampled`.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        sizes: Mapping[str, float],
        temperature: float = 5.0,
        count: int = 1,
        seed: int = 0,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        if not (math.isfinite(temperature) and temperature > 0):
            raise OptionError(f"temperature must be a number above 0, got {temperature}")
        logs = [math.log(size) / temperature for size in check_numbers("sizes", sizes, tuple(tasks))]
        powers = [math.exp(log - max(logs)) for log in logs]  # of any size and temperature, none overflows
        super().__init__(
            tasks,
            proportions={name: power / sum(powers) for name, power in zip(tasks, powers, strict=True)},
            count=count,
            seed=seed,
            max_absence=max_absence,
            starving=starving,
        )
        self.temperature = float(temperature)


class Proportional(Temperature):
    """Tasks drawn in proportion to their sizes: every example is seen equally often.

    Args:
        tasks, sizes, count, seed, max_absence, starving: see :class:`Temperature`, which this is at ``T = 1``.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        sizes: Mapping[str, float],
        count: int = 1,
        seed: int = 0,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        super().__init__(
            tasks, sizes=sizes, temperature=1.0, count=count, seed=seed, max_absence=max_absence, starving=starving
        )


class SquareRoot(Temperature):
    """Tasks drawn in proportion to the square root of their sizes, between even and proportional.

    Args:
        tasks, sizes, count, seed, max_absence, starving: see :class:`Temperature`, which this is at ``T = 2``.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        sizes: Mapping[str, float],
        count: int = 1,
        seed: int = 0,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        super().__init__(
            tasks, sizes=sizes, temperature=2.0, count=count, seed=seed, max_absence=max_absence, starving=starving
        )
