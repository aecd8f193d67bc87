"""Invariants: losses of every update are watched, and a checkpoint keeps the newest."""

import json
import math

import pytest
import torch

from seer.errors import RunError
from seer.training.invariants import Invariants


def test_no_update_of_a_step_goes_unwatched() -> None:
    invariants = Invariants()
    for loss in (1.0, math.nan, 1.0):
        invariants.on_update(7, {"loss": torch.tensor(loss)})
    with pytest.raises(RunError, match="in the update of step 7 loss is nan"):
        invariants.check_losses()
    invariants.check_losses()


def test_the_newest_losses_are_numbers_that_a_checkpoint_keeps() -> None:
    invariants, resumed = Invariants(), Invariants()
    for loss in (3.0, 2.0):
        invariants.on_update(7, {"loss": torch.tensor(loss)})
    invariants.check_losses()
    resumed.load_state_dict(json.loads(json.dumps(invariants.state_dict())))
    assert invariants.losses == resumed.losses == {"loss": 2.0}
    resumed.load_state_dict({"frozen": None})  # as older checkpoints have it
    assert resumed.losses == {}
