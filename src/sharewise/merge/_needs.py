"""What every way to merge needs, declared where it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ._method import Method
from ._registry import available, method
from ._statistics import COLLECTORS

Made = TypeVar("Made", bound=Callable[..., object])


@dataclass(frozen=True)
class Needs:
    """What a way to merge needs.

    Attributes:
        name: of the method, function or class.
        base: the model all were fine-tuned from: ``yes``, ``optional``, ``no``, or ``first`` (it is one of the models).
        data: what must be known of inputs: ``no``, what collects it, or ``inputs`` (without labels).
        labels: ``no``, or ``scores``: an evaluator on validation data.
        task: whether the task must be known when the model is used: ``no``, ``head`` (only to choose a head), ``yes``.
        stored: what is kept afterwards, in models.
    """

    name: str
    base: str = "no"
    data: str = "no"
    labels: str = "no"
    task: str = "no"
    stored: str = "1"


_DECLARED: list[Needs] = []


def declare(
    *, base: str = "no", data: str = "no", labels: str = "no", task: str = "no", stored: str = "1"
) -> Callable[[Made], Made]:
    """Decorate a function or class that merges with what it needs; see :class:`Needs`."""

    def note(made: Made) -> Made:
        _DECLARED.append(Needs(made.__name__, base, data, labels, task, stored))
        return made

    return note


def needs() -> list[Needs]:
    """What every method of :func:`available` needs, then every function and class that merges."""
    return [_of(method(name)) for name in available()] + sorted(_DECLARED, key=lambda n: n.name.lower())


def _of(how: Method) -> Needs:
    base = {"required": "yes", "optional": "optional", "ignored": "no", "first": "first"}[how.base]
    data = f"`{COLLECTORS[how.statistics]}`" if how.statistics else "no"
    if how.statistics and not how.needs_statistics:
        data += ", or none"
    one_task = any(p.name == "task" for p in how.parameters)
    return Needs(how.name, base, data, task="yes" if one_task else "no", stored="1 a task" if one_task else "1")


def needs_table() -> str:
    """The same as a table in Markdown."""
    head = "| | base | data | labels | task known | stored, in models |\n|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{n.name}` | {n.base} | {n.data} | {n.labels} | {n.task} | {n.stored} |\n" for n in needs()
    )
