"""``fit`` drives optimizers that work with each task's gradient, or at two places."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sharewise as sw
from helpers.small import TASKS, SmallModel, splits
from sharewise.errors import OptionError
from sharewise.optim import SAGE, SAM, GroupSAM, MAdam
from sharewise.train import Callback

NAMES = [task.name for task in TASKS]


def madam(groups):
    return MAdam(torch.optim.AdamW(groups, lr=3e-3), NAMES, ramp_steps=10)


MAKERS = {
    "madam": madam,
    "sampled": lambda g: MAdam(torch.optim.AdamW(g, lr=3e-3), NAMES, ramp_steps=10, pairs="sampled"),
    "sam": lambda g: SAM(torch.optim.AdamW(g, lr=3e-3)),
    "sage": lambda g: SAGE(torch.optim.AdamW(g, lr=3e-3)),
    "sage around madam": lambda g: SAGE(madam(g)),
}


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.at = step

    def on_step(self, loop, balance) -> None:
        assert balance.rows is None  # let go of
        loop.stop = loop.step == self.at


def run(optimizer: str, balancer: str, out: Path | None = None, **options) -> SmallModel:
    model = SmallModel()
    sw.fit(
        model, TASKS, splits(), balancer=balancer, optimizer=MAKERS[optimizer], epochs=4, batch_size=25, out=out,
        progress=False, **options,
    )  # fmt: skip
    return model


@pytest.mark.parametrize("balancer", ["equal", "uncertainty", "pcgrad", "graddrop"])
@pytest.mark.parametrize("optimizer", list(MAKERS))
def test_a_stopped_run_continues_bit_for_bit(optimizer: str, balancer: str, tmp_path: Path) -> None:
    whole = run(optimizer, balancer)

    class Killed(Exception):
        pass

    class Kill(StopAt):
        def on_step(self, loop, balance) -> None:
            if loop.step == self.at:
                raise Killed

    with pytest.raises(Killed):
        run(optimizer, balancer, tmp_path, checkpoint_seconds=0.0, callbacks=[Kill(11)])
    again = run(optimizer, balancer, tmp_path, checkpoint_seconds=0.0, callbacks=[StopAt(10**9)])
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("optimizer", ["madam", "sage"])
def test_over_several_batches_too(optimizer: str) -> None:
    model, start = run(optimizer, "pcgrad", accumulate=2), SmallModel()
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))
    run("sage", "equal", accumulate=2)


def test_switched_off_it_is_the_optimizer_alone_bit_for_bit() -> None:
    plain, off = SmallModel(), SmallModel()
    for model, make in (
        (plain, lambda g: torch.optim.AdamW(g, lr=1e-2)),
        (off, lambda g: SAGE(torch.optim.AdamW(g, lr=1e-2), rho=0.0, sigma=0.0)),
    ):
        sw.fit(model, TASKS, splits(), balancer="pcgrad", optimizer=make, epochs=2, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), off.parameters(), strict=True))


def test_another_optimizer_in_the_folder_and_passes_by_group_are_refused(tmp_path: Path) -> None:
    run("sam", "equal", tmp_path)
    with pytest.raises(sw.errors.RunError, match="optimizer"):
        run("madam", "equal", tmp_path)
    with pytest.raises(OptionError, match="GroupSAM takes a pass a group"):
        sw.fit(
            SmallModel(), TASKS, splits(), progress=False,
            optimizer=lambda g: GroupSAM(torch.optim.AdamW(g), {"all": [p for q in g for p in q["params"]]}),
        )  # fmt: skip
