"""Task arithmetic."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .._method import LAMBDA, WEIGHT, Block, Method, Parameter
from ._linear import weighted_sum


def scale_of(values: Any) -> float:
    """``lambda``, over the sum of the weights where ``normalize`` is on (a sum of 0 divides by nothing)."""
    total = sum(values["weight"])
    return float(values["lambda"]) / (total if values["normalize"] and abs(total) > 1e-8 else 1.0)


class TaskArithmetic(Method):
    """``theta_0 + lambda sum_t w_t (theta_t - theta_0)``; a negative weight unlearns.

    Ilharco et al., "Editing models with task arithmetic" (ICLR 2023, arXiv 2212.04089, section 2). One pass.
    """

    name = "task_arithmetic"
    title = "Task arithmetic"
    paper = "https://arxiv.org/abs/2212.04089"
    parameters = (WEIGHT, LAMBDA, Parameter("normalize", "divide by the sum of the weights", False, bool))
    temporaries = 1

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the weighted sum of task vectors."""
        scale = scale_of(block.stack.values)
        return weighted_sum(block.rows, [scale * w for w in block.stack.values["weight"]])
