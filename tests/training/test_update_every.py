"""Updates at every so many steps: when they come, what they cost, in the loop and as foretold."""

import dataclasses
from pathlib import Path

import pytest

from painted_run import CAPACITY, finish, make_training
from seer.config import Config
from seer.core.freeze_rules import FreezeAt
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.presets import change
from seer.runs.folder import read_metrics
from seer.training.cost import RunCost
from seer.training.state import TrainingState
from seer.validation import validate

STEPS, FROZEN_AT, FIRST = 200, 122, 30


@pytest.mark.parametrize(("every", "updates"), [(1, 2), (7, 1), (7, 2)])
def test_updates_come_at_multiples_and_cost_what_is_foretold(every: int, updates: int, tmp_path: Path) -> None:
    settings = {"learning.first_update": FIRST, "learning.update_every": every, "learning.updates_per_step": updates}

    def make() -> TrainingState:
        run = make_training(FreezeAt(FROZEN_AT, reason="given step"), steps=STEPS)
        run.config = change(run.config, settings)
        return run

    run, _ = finish(make, tmp_path / "run")
    assert run.agent.phase is Phase.LATENTS
    due = [step for step in range(FIRST, STEPS + 1) if step % every == 0]
    records = [record for record in read_metrics(tmp_path / "run") if record["kind"] == "train"]
    assert [record["updates"] for record in records] == [
        updates * sum(step <= record["step"] for step in due) for record in records
    ]
    config = change(Config(env="ALE/Pong-v5", steps=STEPS), {"replay.n_step": 2, **settings})
    foretold = RunCost(config, run.agent.cost, Phase.LATENTS, capacity=CAPACITY)
    assert (run.ledger.baseline, run.ledger.total) == (foretold.total(None), foretold.total(FROZEN_AT))
    smaller = dataclasses.replace(foretold, capacity=FROZEN_AT - 10)  # ten frames fewer are there to convert
    assert foretold.total(FROZEN_AT) - smaller.total(FROZEN_AT) == 10 * run.agent.cost.store
    cost, before = run.agent.cost, sum(step < FROZEN_AT for step in due)
    by_hand = STEPS * cost.act + (STEPS - FROZEN_AT) * cost.store + FROZEN_AT * cost.store
    by_hand += updates * (before * cost.update(Phase.FRAMES) + (len(due) - before) * cost.update(Phase.LATENTS))
    assert run.ledger.total == by_hand


@pytest.mark.parametrize(
    ("first", "every", "n_step", "expected"), [(60, 1, 3, 60), (60, 7, 3, 63), (63, 7, 3, 63), (1, 4, 8, 12)]
)
def test_the_first_update_is_at_a_multiple_too(first: int, every: int, n_step: int, expected: int) -> None:
    config = Config(env="ALE/Pong-v5")
    learning = dataclasses.replace(config.learning, first_update=first, update_every=every)
    config = dataclasses.replace(config, learning=learning, replay=dataclasses.replace(config.replay, n_step=n_step))
    assert config.first_update == expected


def test_a_freeze_before_the_first_multiple_is_refused() -> None:
    config = Config(env="ALE/Pong-v5")
    learning = dataclasses.replace(config.learning, first_update=1600, update_every=1000)
    config = dataclasses.replace(config, learning=learning, freeze=dataclasses.replace(config.freeze, at="1900"))
    with pytest.raises(
        SettingError, match=r"begin at step 2000: give more, or a lower --first-update or --update-every$"
    ):
        validate(config)
