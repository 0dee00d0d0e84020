"""Methods that mask the merged task vector: consensus, TALL masks, EMR."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import MergeError, nearest
from .._method import LAMBDA, WEIGHT_ONE, Block, Method, Parameter, Stack
from ._elect import signs_of
from ._linear import weighted_sum

TASK = Parameter("task", "the model (its name in the plan) whose task the output is for", None, str, required=True)


def index_of(stack: Stack) -> int:
    """The place of the model that ``task`` names; raises :class:`MergeError` for one that is not there."""
    wanted = stack.values["task"]
    if wanted not in stack.models:
        raise MergeError(f'task "{wanted}" is none of the models; {nearest(wanted, stack.models)}')
    return stack.models.index(wanted)


def tall_masks(rows: Tensor, merged: Tensor, strictness: float) -> Tensor:
    """``m_t = 1[|tau_t| >= strictness |tau - tau_t|]``: ``[n, ...]``, ones and zeros in the rows' dtype."""
    return (rows.abs() >= strictness * (merged - rows).abs()).to(rows.dtype)


STRICT = Parameter("mask_lambda", "how much larger an entry must be than what others change there", 0.4, low=0.0)


class Consensus(Method):
    """``theta_0 + lambda m * sum_t w_t tau_t`` with ``m`` 1 where at least ``agree`` models' TALL masks are:
    catastrophic entries (of none) and selfish ones (of one) are dropped.

    Wang et al., "Localizing task information" (ICML 2024, arXiv 2405.07813, equations 3 and 5). One ``mask_lambda``
    for all models; tune it in 0.2 ... 0.6 on validation data. One pass.
    """

    name = "consensus"
    title = "Consensus (TALL masks)"
    paper = "https://arxiv.org/abs/2405.07813"
    parameters = (
        WEIGHT_ONE,
        LAMBDA,
        STRICT,
        Parameter("agree", "how many models must need an entry", 2, int, low=0),
    )
    temporaries = 12

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the masked sum."""
        values = block.stack.values
        merged = weighted_sum(block.rows, values["weight"])
        votes = tall_masks(block.rows, merged, values["mask_lambda"]).sum(0)
        return merged * (votes >= values["agree"]).to(merged.dtype) * values["lambda"]


class Tall(Method):
    """``theta_0 + m_t * sum_s w_s tau_s`` for one task: the merged vector where the task's TALL mask is 1.

    Wang et al. (arXiv 2405.07813, section 4.1, compression). The output serves the model named by ``task``. One pass.
    """

    name = "tall"
    title = "TALL mask of one task"
    paper = "https://arxiv.org/abs/2405.07813"
    parameters = (WEIGHT_ONE, STRICT, TASK)
    temporaries = 8

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the task's part of the sum."""
        merged = weighted_sum(block.rows, block.stack.values["weight"])
        own = block.rows[index_of(block.stack)].unsqueeze(0)
        return merged * tall_masks(own, merged, block.stack.values["mask_lambda"])[0]


def unified(rows: Tensor) -> Tensor:
    """The elected sign of every entry times the largest absolute value of those that agree with it: ``[n, ...]`` ->
    ``[...]``."""
    gamma = signs_of(rows.sum(0))
    return (rows * gamma).relu_().amax(0).mul_(gamma)


class EMR(Method):
    """``theta_0 + lambda_t M_t * tau_uni`` for one task: the unified vector, masked to the task's signs and rescaled.

    Huang et al., "EMR-merging" (NeurIPS 2024, arXiv 2405.17461, section 3.2): ``gamma = sign(sum_t tau_t)``,
    ``tau_uni`` the largest entry that agrees with gamma, ``M_t = [tau_t gamma > 0]``, ``lambda_t = sum |tau_t| / sum
    |M_t tau_uni|`` over the whole model. No tuning. The output serves the model named by ``task``. Two passes.
    """

    name = "emr"
    title = "EMR"
    paper = "https://arxiv.org/abs/2405.17461"
    parameters = (TASK,)
    surveys = True
    temporaries = 8

    def _masked(self, block: Block) -> tuple[Tensor, Tensor]:
        own, merged = block.rows[index_of(block.stack)], unified(block.rows)
        return own, merged * (own * merged > 0).to(merged.dtype)

    def survey(self, stack: Stack) -> tuple[float, float]:
        """Sums of absolute values: of the task's own vector, and of its masked part of the unified one."""
        sums = torch.zeros(2, dtype=torch.float64)
        for block in stack.blocks():
            sums += torch.stack([x.abs().sum().double() for x in self._masked(block)])
        return float(sums[0]), float(sums[1])

    def gather(self, found: dict[str, Any]) -> float:
        """The scale of this task."""
        own, masked = (sum(f[i] for f in found.values()) for i in (0, 1))
        return float(own / masked) if masked > 0 else 1.0

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the task's vector."""
        return self._masked(block)[1] * float(block.stack.surveyed)
