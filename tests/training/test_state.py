"""The schedules of a run: what changes with its steps, to the end that it was planned for."""

import pytest

from painted_run import make_training
from seer.core.freeze_rules import FreezeAt
from seer.presets import change


@pytest.mark.parametrize(("steps", "planned"), [(1000, None), (2000, 1000)])
def test_schedules_end_where_they_were_planned_to(steps: int, planned: int | None) -> None:
    run = make_training(FreezeAt(None), steps=steps)
    settings = {"replay.importance_exponent": 0.4, "learning.learning_rate_final_share": 0.2, "planned_steps": planned}
    run.config = change(run.config, settings)
    exponents, shares = [], []
    for run.step in (0, 500, 1000, 1500):
        exponents.append(run.importance_exponent)
        shares.append(run.learning_rate_share)
    assert exponents == pytest.approx([0.4, 0.7, 1, 1])
    assert shares == pytest.approx([1, 0.6, 0.2, 0.2])


def test_updates_begin_anew_where_the_replay_did() -> None:
    run = make_training(FreezeAt(None))
    settings = {"learning.first_update": 10, "learning.updates_per_step": 2, "learning.update_every": 4}
    run.config = change(run.config, settings)
    assert [step for step in range(30) if run.updates_at(step)] == [12, 16, 20, 24, 28]
    run.replay_from = 11
    assert {step: run.updates_at(step) for step in range(30) if run.updates_at(step)} == {24: 2, 28: 2}
