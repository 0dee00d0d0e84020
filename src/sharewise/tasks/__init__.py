"""What is learned: tasks, their losses and their metrics."""

from ._json import task_from_json, task_to_json
from ._makers import binary, custom, multiclass, multilabel, ranking, regression, segmentation
from ._task import Metric, Task, check_tasks

__all__ = [
    "Metric",
    "Task",
    "binary",
    "check_tasks",
    "custom",
    "multiclass",
    "multilabel",
    "ranking",
    "regression",
    "segmentation",
    "task_from_json",
    "task_to_json",
]
