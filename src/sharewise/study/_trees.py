"""Gradient-boosted trees for one target: what a user would pick instead of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import TableData
from ..tasks import Task
from ..train import gather_targets

MOST_TREES = 400


class Trees:
    """Histogram gradient boosting (scikit-learn) for one task, stopped early on the study's validation rows.

    Missing numbers and categories are handled by the trees themselves. ``settings``: ``learning_rate``,
    ``max_leaf_nodes``, ``min_samples_leaf``, ``l2_regularization``.
    """

    def __init__(self, task: Task, settings: Mapping[str, Any], seed: int) -> None:
        self.task, self.settings, self.seed = task, dict(settings), seed

    def fit(self, data: TableData) -> Trees:
        """Train on the training rows that have a label."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        features, categorical = data.arrays("train")
        later, _ = data.arrays("valid")
        y, keep = self._labels(data.splits.train)
        y_later, keep_later = self._labels(data.splits.valid)
        known = keep_later & np.isin(y_later, np.unique(y[keep])) if self.task.kind != "regression" else keep_later
        kind = HistGradientBoostingRegressor if self.task.kind == "regression" else HistGradientBoostingClassifier
        self.model = kind(
            **self.settings,
            max_iter=MOST_TREES,
            early_stopping=True,
            n_iter_no_change=15,
            categorical_features=categorical if any(categorical) else None,
            random_state=self.seed,
        )
        self.model.fit(features[keep], y[keep], X_val=later[known], y_val=y_later[known])
        return self

    def predict(self, data: TableData, split: str) -> Tensor:
        """Decoded predictions, as a network's: numbers, probability of class one, or ``[N, C]``."""
        features, _ = data.arrays(split)
        if self.task.kind == "regression":
            return torch.from_numpy(self.model.predict(features))
        found = self.model.predict_proba(features)
        whole = np.zeros((len(found), max(2, len(self.task.classes))))
        whole[:, self.model.classes_.astype(int)] = found
        return torch.from_numpy(whole[:, 1] if self.task.kind == "binary" else whole)

    def parameters(self) -> int:
        """Numbers in the trees: a threshold or value for every node."""
        return sum(len(tree.nodes) for step in self.model._predictors for tree in step)

    def _labels(self, source: Any) -> tuple[np.ndarray, np.ndarray]:
        targets, observed = gather_targets(source, [self.task])
        return targets[self.task.name].double().numpy(), observed[self.task.name].numpy()
