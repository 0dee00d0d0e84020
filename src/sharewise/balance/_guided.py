"""Methods on the Gram matrix that also learn, from batches the model is not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ._balancer import GramBalancer
from ._guidance import Guidance
from ._reducer import Reducer
from ._shared import Parameters


class GuidedBalancer(GramBalancer):
    """Decides by the Gram matrix, and learns how from *guidance* batches; derive and write :meth:`descend`."""

    @property
    def learns(self) -> bool:
        """Whether guidance changes anything."""
        return True

    def guide(
        self,
        losses: Mapping[str, Tensor],
        *,
        trained: Mapping[str, Tensor] | None = None,
        shared: Parameters | Mapping[str, Parameters] | None = None,
        representation: Tensor | Sequence[Tensor] | None = None,
        mode: str = "auto",
        reducer: Reducer | None = None,
    ) -> dict[str, Tensor]:
        """One step of what is learned, to be taken after each step of the model; :func:`sharewise.fit` does it.

        Args:
            losses: task name -> loss, with its graph, on a batch held out for guidance; absent tasks left out.
            trained: the same on a batch of training examples, for the guide term's products
                ``<grad of guidance loss, g_j>`` and the step it looks along. Without it the guidance batch steps by
                itself: no further passes, but what is noise in that batch then counts as progress too.

        ``shared``, ``representation``, ``mode`` and ``reducer`` are those of :func:`sharewise.balance.backward`; with a
        mapping of groups the balancer of each learns from the gradients of its parameters.

        Returns the loss of what is learned before the step, ``total``, and its parts; nothing with fewer than two tasks
        whose gradient is not zero; of groups the sums. Cost: m backward passes (2 m with ``trained``) and O(m^2).
        """
        options = {"shared": shared, "representation": representation, "mode": mode, "reducer": reducer}
        total: dict[str, Tensor] = {}
        for group, found in Guidance.measured(losses, trained, **options).items():
            learner = self if group is None else self.group(group)
            assert isinstance(learner, GuidedBalancer)
            for name, part in learner._take_in(found).items():
                total[name] = total[name] + part if name in total else part
        return total

    def learn(
        self,
        gram: Tensor,
        losses: Tensor,
        *,
        names: Sequence[str] | None = None,
        trained: Tensor | None = None,
        cross: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """:meth:`guide` from matrices: ``gram`` ``[m, m]`` and ``losses`` ``[m]`` of the guidance batch.

        ``trained`` ``[m, m]`` is the Gram matrix of the training batch's gradients, ``cross`` ``[m, m]`` holds
        ``<guidance gradient i, training gradient j>``: both or neither. Raises :class:`BalanceError` for losses that
        are negative or not finite, and gradients that are not finite.
        """
        known = self.check_names(len(gram), names)
        return self._take_in(Guidance.of(known, gram, losses, trained, cross))

    def descend(self, found: Guidance) -> dict[str, Tensor]:
        """Learn from a guidance batch that two or more tasks have a gradient in."""
        raise NotImplementedError

    def _take_in(self, found: Guidance | None) -> dict[str, Tensor]:
        return {} if found is None else self.descend(found)
