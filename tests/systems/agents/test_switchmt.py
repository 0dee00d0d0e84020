"""The arms of ``switchmt``: what each changes, and what is equal for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.optional import needs_gymnasium
from sharewise.schedule import Signal

pytestmark = needs_gymnasium


def test_the_released_tracker_leaves_a_moving_network_at_once() -> None:
    """Compared with itself nothing changes: after min_episodes + 1 + window episodes, whatever the network does."""
    from sharewise.systems.agents._arms import SMOKE, make_schedule

    sizes = replace(SMOKE, min_episodes=3, window=2, threshold=0.1)
    left = {}
    for switching in ("plateau", "aliased", "fixed"):
        schedule = make_schedule(switching, ["a", "b"], sizes)
        weight = torch.nn.Parameter(torch.ones(3))
        for episode in range(40):
            schedule.tasks(episode)
            weight.data *= -1.0
            schedule.observe(episode, Signal(rewards={"a": 0.0}, parameters=[weight]))
        left[switching] = {switch.episodes for switch in schedule.log}
    assert left == {"plateau": set(), "aliased": {3 + 1 + 2}, "fixed": {3}}


@pytest.mark.parametrize("name", ["switchmt", "separate"])
def test_an_arm_repeats_itself_and_reports_frames(name) -> None:
    from sharewise.systems.agents._arms import SMOKE, arms

    run = arms(SMOKE)[name]
    found = run(3)
    assert found == run(3)
    assert sum(found[f"frames_{game}"] for game in ("catch", "avoid", "fetch")) == SMOKE.frames
    assert found["frames_third"] == found["frames_fetch"]
    assert found["worst_of_two"] == min(found["normalised_catch"], found["normalised_avoid"])


def test_separate_agents_learn_as_often_a_game() -> None:
    from sharewise.systems.agents._arms import DEFAULT

    every = DEFAULT.options.update_every
    assert DEFAULT.frames // every == DEFAULT.frames // 3 // (every // 3)
