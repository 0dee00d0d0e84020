"""Tasks drawn at random, in fixed proportions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch

from ..errors import OptionError
from ._schedule import Schedule, Starving, check_count
from ._shares import check_proportions


class Sampled(Schedule):
    """``count`` different tasks a step, drawn with probabilities ``proportions``.

    With ``count`` > 1 tasks are drawn one after the other without putting back, so that large proportions become a
    little more even. Draws come from the schedule's own generator.

    Args:
        tasks: see :class:`Schedule`.
        proportions: task -> probability; they sum to 1.
        count: tasks a step.
        seed: of the draws.
        max_absence, starving: see :class:`Schedule`. Chance leaves a task with probability p out of n steps in a row
            once in about ``(1 - p)^-n / p`` steps.

    Raises :class:`OptionError` for proportions that do not sum to 1, name unknown tasks or leave one out.
    """

    generator: torch.Generator

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        proportions: Mapping[str, float],
        count: int = 1,
        seed: int = 0,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        super().__init__(tasks, seed=seed, max_absence=max_absence, starving=starving)
        check_count("count", count)
        if count > len(self.names):
            raise OptionError(f"count is {count}, but there are only {len(self.names)} tasks")
        self.count = count
        shares = torch.tensor(check_proportions(proportions, self.names), dtype=torch.float64)
        self._shares = shares / shares.sum()

    @property
    def proportions(self) -> dict[str, float]:
        """Task -> probability of each draw."""
        return dict(zip(self.names, self._shares.tolist(), strict=True))

    def _choose(self, step: int) -> Sequence[str]:
        shares = self._shares.tolist()
        drawn = []
        for number in torch.rand(self.count, generator=self.generator, dtype=torch.float64).tolist():
            upto = list(accumulate(shares))  # a tenth of the time that multinomial takes
            place = bisect_right(upto, number * upto[-1])
            drawn.append(self.names[place])
            shares[place] = 0.0
        return drawn
