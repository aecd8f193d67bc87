"""The schedule of a run."""

import pytest

from seer.training.state import Schedule


def test_importance_exponent_rises_linearly_to_1() -> None:
    schedule = Schedule(
        steps=1000, first_update=1, updates_per_step=1, batch_size=1, importance_exponent=0.4, log_every=1,
        eval_every=1, eval_episodes=1, checkpoint_every=1,
    )  # fmt: skip
    assert [schedule.importance_exponent_at(step) for step in (0, 500, 1000)] == pytest.approx([0.4, 0.7, 1.0])
