"""Running means of gradients by task, whole or as sketches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import ScheduleError


class RunningRows:
    """``mean_k <- beta mean_k + (1 - beta) row_k`` for each task k, from zero; cosines do not feel the start.

    Args:
        beta: in [0, 1).
        width: ``None`` keeps rows as they are. Else each is kept as a sketch of so many numbers: every entry is added,
            with a random sign, to a random place. Inner products of sketches are those of the rows in expectation, with
            a standard deviation of at most ``sqrt(2 / width)`` times the product of their norms.
        seed: of signs and places.

    Source of the sketch: Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", ICALP 2002; as a
    projection, Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009, lemma 2.

    Memory: n numbers a task, or ``width``; with sketches also a place and a sign for each entry of a row, once.
    """

    def __init__(self, beta: float, width: int | None, seed: int) -> None:
        self.beta, self.width, self.seed = beta, width, seed
        self.rows: dict[str, Tensor] = {}
        self._places: tuple[Tensor, Tensor] | None = None

    def update(self, task: str, row: Tensor) -> None:
        """Take in a gradient ``[n]``; raises :class:`ScheduleError` naming the task if it is not finite."""
        row = row.detach().to(torch.float32)
        if not bool(row.isfinite().all()):
            raise ScheduleError(f'the gradient of task "{task}" is NaN or infinite: its conflicts cannot be told')
        row = row if self.width is None else self._sketch(row)
        before = self.rows.get(task)
        if before is not None and before.shape != row.shape:
            raise ScheduleError(
                f'the gradient of task "{task}" has {len(row)} entries, it had {len(before)}: give those of the same '
                "parameters each time"
            )
        mean = torch.zeros_like(row) if before is None else before.to(row.device)
        self.rows[task] = self.beta * mean + (1 - self.beta) * row

    def gram(self, names: Sequence[str]) -> Tensor:
        """Inner products ``[m, m]`` in float64 on the CPU; zeros for a task not seen yet."""
        gram = torch.zeros(len(names), len(names), dtype=torch.float64)
        seen = [i for i, name in enumerate(names) if name in self.rows]
        if seen:
            matrix = torch.stack([self.rows[names[i]] for i in seen]).double()
            places = torch.tensor(seen)
            gram[places[:, None], places] = (matrix @ matrix.T).cpu()
        return gram

    def state_dict(self) -> dict[str, Tensor]:
        """The means; a copy."""
        return {name: row.clone() for name, row in self.rows.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.rows = {name: row.clone() for name, row in state.items()}

    def _sketch(self, row: Tensor) -> Tensor:
        if self._places is None or len(self._places[0]) != len(row):
            generator = torch.Generator().manual_seed(self.seed)
            places = torch.randint(self.width or 1, (len(row),), generator=generator)
            signs = torch.randint(2, (len(row),), generator=generator) * 2.0 - 1
            self._places = places.to(row.device), signs.to(row.device)
        places, signs = self._places
        return row.new_zeros(self.width or 1).index_add_(0, places, row * signs)
