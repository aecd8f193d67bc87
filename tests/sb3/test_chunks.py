"""`learn` in chunks, with a new callback each time, and in other environments: one decision, one freeze."""

from typing import Any

import pytest
import torch
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack

from seer.errors import SettingError
from seer.integrations.stable_baselines3 import SeerCallback

from .arcade import extractor_state
from .counted import compare, counted, learner
from .test_freeze_rules import Rising

STEADY = {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1, "learning_rate": 1e-3}
"""What doesn't depend on how many steps `learn` was asked for."""
AUTO: dict[str, Any] = {"probe_every": 260, "earliest": 100, "similarity": 0.0, "patience": 1}


def rising(env: Any) -> Any:
    return Monitor(Rising(env))


@pytest.mark.parametrize(
    ("freeze_at", "num_envs", "steps", "chunk"),
    [(40, 1, 120, 20), (41, 3, 180, 60), (0, 1, 60, 20), ("auto", 1, 1120, 80)],
)
def test_chunks_learn_and_freeze_as_one_call_does(
    freeze_at: Any, num_envs: int, steps: int, chunk: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """At every boundary: that of the freeze, before it and after it."""
    settings = AUTO if freeze_at == "auto" else {}
    ends, lines = [], []
    for size in (steps, chunk):
        model = learner(VecFrameStack(counted(num_envs, wrap=rising), 2), train_freq=20, **STEADY)
        frozen: dict[str, torch.Tensor] = {}
        for _ in range(0, steps, size):
            model.learn(size, callback=SeerCallback(freeze_at, **settings), reset_num_timesteps=False)
            if hasattr(model, "seer_frozen_at"):
                now = extractor_state(model)
                assert all(torch.equal(value, now[name]) for name, value in frozen.items())
                frozen = now
        ends.append((model.seer_frozen_at, model.replay_buffer.num_added, model.policy.state_dict()))
        lines.append([line for line in capsys.readouterr().out.splitlines() if "frozen at step" in line])
    (step, added, whole), (chunked_step, chunked_added, chunked) = ends
    assert step == chunked_step == {"auto": 1040, 41: 42}.get(freeze_at, freeze_at)
    assert added == chunked_added == steps
    assert all(torch.equal(value, chunked[name]) for name, value in whole.items())
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1


def test_steps_counted_anew_are_said_and_other_settings_begin_a_new_decision(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = learner(counted())
    model.learn(20, callback=SeerCallback(50))
    said = capsys.readouterr().out
    assert said.startswith("seer: no freeze before step 50, and this call of learn ends at step 20\n")
    assert "not frozen by step 20: freeze_at is 50" in said
    model.learn(40, callback=SeerCallback(50))
    assert "steps are counted anew, also those until the freeze" in capsys.readouterr().out
    assert not hasattr(model, "seer_frozen_at")
    model.learn(20, callback=SeerCallback(45), reset_num_timesteps=False)
    said = capsys.readouterr().out
    assert "counted anew" not in said
    assert "no freeze before" not in said
    assert model.seer_frozen_at == 45


def test_another_environment_closes_the_episode_as_stable_baselines3_does() -> None:
    model = learner(VecFrameStack(counted(2), 4))
    for seed, freeze_at in enumerate((10**6, 10**6, 100, 100)):
        if seed > 0:
            model.set_env(VecFrameStack(counted(2, seed=seed), 4))
        model.learn(40, callback=SeerCallback(freeze_at, verbose=0), reset_num_timesteps=False)
        compare(model)
    assert model.seer_frozen_at == 100
    assert model.replay_buffer.num_jumps == 0


def test_another_environment_without_scores_is_refused_where_they_decide() -> None:
    model = learner(counted())
    model.learn(20, callback=SeerCallback("auto", verbose=0))
    model.set_env(counted(wrap=lambda env: env))
    with pytest.raises(SettingError, match="wrap the environment in Monitor"):
        model.learn(20, callback=SeerCallback("auto", verbose=0), reset_num_timesteps=False)
