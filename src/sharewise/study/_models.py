"""The models a study trains. Arms are made of models, and arms that need the same one share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import OptionError
from ..schedule import options
from .results import Arm

SCHEDULED = ("equal", "uncertainty", "pcgrad", "constant")
"""Arms that a schedule can be put behind: ``pcgrad@round_robin``."""

BY_LAYER = ("pcgrad",)
"""Arms that can decide layer by layer: ``pcgrad+layers``."""


class Model(NamedTuple):
    """One model to tune: which tasks (by number), how, and the key of its folder."""

    key: str
    tasks: tuple[int, ...]
    kind: str
    """``network``, ``weighted`` or ``trees``."""
    balancer: str = "equal"
    probe: bool = False
    schedule: str = "all"
    by_layer: bool = False


class Parts(NamedTuple):
    """What an arm's name says: ``pcgrad+layers@round_robin``."""

    base: str
    by_layer: bool
    schedule: str


def parts(arm: str) -> Parts:
    """The arm itself, whether it decides layer by layer, and its schedule, ``all`` where none is named."""
    name, _, schedule = arm.partition("@")
    base, plus, how = name.partition("+")
    if plus and how != "layers":
        raise OptionError(f'arm "{arm}": what can follow a plus is "layers", got "{how}"')
    return Parts(base, bool(plus), schedule or "all")


def check_variant(arm: str) -> None:
    """Raise :class:`OptionError` for an arm that cannot decide layer by layer, or whose schedule is unknown, needs more
    than its name, or cannot be there."""
    base, by_layer, schedule = parts(arm)
    if by_layer and base not in BY_LAYER:
        raise OptionError(
            f'arm "{arm}": only methods on gradients decide layer by layer, here {", ".join(BY_LAYER)}, not "{base}"'
        )
    if base not in SCHEDULED:
        raise OptionError(f'arm "{arm}": a schedule goes with one of {", ".join(SCHEDULED)}, not with "{base}"')
    needed = [k for k, v in options(schedule).items() if v.default is v.empty and k != "sizes"]
    if needed:
        raise OptionError(f'arm "{arm}": the schedule needs {needed[0]}=..., which a name cannot say: take another one')


def network(tasks: Sequence[int], total: int, arm: str = "equal") -> Model:
    """A network for some tasks; one task alone is a separate model, whatever asks for it."""
    members = tuple(sorted(tasks))
    if len(members) == 1:
        return Model(f"separate-{members[0]}", members, "network")
    name = "all" if len(members) == total else "-".join(map(str, members))
    balancer, by_layer, schedule = parts(arm)
    return Model(
        f"{arm}-{name}",
        members,
        "weighted" if balancer == "constant" else "network",
        balancer,
        probe=arm == "equal" and len(members) == total,
        schedule=schedule,
        by_layer=by_layer,
    )


def models_of(arm: str, total: int, groups: Sequence[Sequence[int]] = ()) -> list[Model]:
    """The models of an arm over ``total`` tasks; ``groups`` (task numbers) are needed by the arm ``groups``."""
    if arm == "separate":
        return [network([i], total) for i in range(total)]
    if arm == "trees":
        return [Model(f"trees-{i}", (i,), "trees") for i in range(total)]
    if arm == "groups":
        return [network(g, total) for g in groups]
    return [network(range(total), total, arm)]


TEXTS = {
    "separate": ("Separate models", "separate", "One network for each task, each tuned by itself."),
    "equal": ("Shared, equal weights", "shared", "One network for all tasks; the losses are added up."),
    "uncertainty": (
        "Shared, uncertainty weights",
        "shared",
        "One network; each loss is weighted by a learned noise level (Kendall, Gal and Cipolla 2018).",
    ),
    "pcgrad": (
        "Shared, PCGrad",
        "shared",
        "One network; a task's gradient loses the part that conflicts with another's (Yu et al. 2020).",
    ),
    "constant": (
        "Shared, tuned constant weights",
        "shared",
        "One network; a constant weight for each loss is tuned with the other settings.",
    ),
    "groups": (
        "Shared in groups",
        "groups",
        "A network for each group of tasks that helped each other in a first shared run (Fifty et al. 2021).",
    ),
    "trees": ("Boosted trees", "trees", "Gradient-boosted trees for each task, each tuned by itself."),
}


def describe(arm: str, groups: list[list[str]]) -> Arm:
    """The arm's title and text for the page."""
    base, by_layer, schedule = parts(arm)
    title, kind, text = TEXTS[base]
    if by_layer:
        title = f"{title}, layer by layer"
        text += " Each layer is decided on by itself; projections shown are means over layers."
    if schedule != "all":
        title, text = f"{title}, {schedule}", f"{text} Which tasks train in a step is up to the schedule {schedule}."
    return Arm(name=arm, title=title, kind=kind, text=text, groups=groups if arm == "groups" else [])  # type: ignore[arg-type]
