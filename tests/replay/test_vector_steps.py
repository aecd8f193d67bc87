"""`VectorSteps` on Gymnasium's own vector environments: each step played is stored, and no other."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

import seer

FRAME, STACK, ENVS = (1, 12, 12), 2, 2
BOTH = pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])


class Painted(gymnasium.Env[Any, Any]):
    """Paints how many observations there were before; terminates after 4 steps, then is cut after 6, and so on."""

    observation_space = gymnasium.spaces.Box(0, 255, FRAME[1:], np.uint8)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self) -> None:
        self.number = self.episode = self.left = 0
        self.played: list[tuple[int, int, int, bool]] = []  # number now and next, action, whether it terminated

    def paint(self) -> Any:
        self.number += 1
        return np.full(FRAME[1:], self.number, np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode += 1
        self.left = 4 if self.episode % 2 else 6
        return self.paint(), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        over, terminates = self.left == 0, self.episode % 2 == 1
        now, seen = self.number, self.paint()
        self.played.append((now, self.number, int(action), over and terminates))
        return seen, float(now), over and terminates, over and not terminates, {}


gymnasium.register("Painted-v0", Painted)


def play(mode: AutoresetMode, steps: int, freeze_at: int = 10**6, **options: Any) -> tuple[Any, Any]:
    envs = gymnasium.make_vec(
        "Painted-v0", ENVS, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode} | options,
        wrappers=[lambda env: gymnasium.wrappers.FrameStackObservation(env, STACK)],
    )  # fmt: skip
    settings: dict[str, Any] = {"num_bytes": 300 * 144, "frame_shape": FRAME, "stack": STACK}
    space = envs.single_action_space
    replay = seer.MultiEnvReplay(
        [seer.make_replay(**settings, action_space=space, seed=each, number=each) for each in range(ENVS)],
        np.random.default_rng(0),
    )
    encoder = seer.FreezableEncoder(Means(), replay.observation_shape)
    observations, _ = envs.reset(seed=0)
    stores = seer.VectorSteps(envs, replay, encoder, view=lambda stack: stack[:, None])
    envs.action_space.seed(0)
    for step in range(steps):
        if step == freeze_at:
            encoder.freeze_and_transcode(replay)
        actions = envs.action_space.sample()
        following, *results, infos = envs.step(actions)
        stores.append(observations, actions, *results, following, infos)
        observations = following
    return envs, replay


class Means(nn.Module):
    """The mean of each frame of a stack."""

    def forward(self, stacks: torch.Tensor) -> torch.Tensor:
        return stacks.mean((2, 3)) * 255


@BOTH
@pytest.mark.parametrize("freeze_at", [10**6, 30])
def test_every_step_played_is_sampled_and_nothing_else(mode: AutoresetMode, freeze_at: int) -> None:
    envs, replay = play(mode, 60, freeze_at)
    assert replay.holds_latents == (freeze_at == 30)
    batch = replay.sample(4000)
    if replay.holds_latents:
        now, after = (each.flatten(1).round().int() for each in (batch.now, batch.next))
    else:
        now, after = (each[:, :, 0, 0, 0].int() for each in (batch.now, batch.next))
    found: list[set[Any]] = [set() for _ in range(ENVS)]
    for b, index in enumerate(batch.index.tolist()):
        over = batch.discount[b].item() == 0
        assert now[b, -1] == batch.reward[b]
        assert over or now[b, -1] == after[b, -2]  # a stack lies within one episode
        following = int(now[b, -1]) + 1 if over else int(after[b, -1])
        found[index % ENVS].add((int(now[b, -1]), following, int(batch.action[b]), over))
    for env in range(ENVS):
        played = envs.envs[env].unwrapped.played
        assert found[env] == set(played[:-1]) or found[env] == set(played)  # the newest may have no row for its next
        assert replay.replays[env].num_steps == len(played)
        assert sum(over for *_, over in found[env]) == sum(over for *_, over in played) > 2


def test_what_gymnasium_has_to_say_and_does_not_is_refused() -> None:
    envs, replay = play(AutoresetMode.SAME_STEP, 1)
    encoder = seer.FreezableEncoder(Means(), replay.observation_shape)
    stores = seer.VectorSteps(envs, replay, encoder, view=lambda stack: stack[:, None])
    stacks, nothing = np.zeros((ENVS, STACK, *FRAME[1:]), np.uint8), np.zeros(ENVS, int)
    with pytest.raises(seer.SettingError, match="infos have no final_obs, though autoreset_mode is SAME_STEP"):
        stores.append(stacks, nothing, nothing, nothing == 1, nothing == 0, stacks.copy(), {})
    with pytest.raises(seer.SettingError, match="replay is of 1 environments, envs of 2"):
        seer.VectorSteps(envs, replay.replays[0], encoder)
    envs.metadata = {}
    with pytest.raises(seer.SettingError, match="autoreset_mode is None"):
        seer.VectorSteps(envs, replay, encoder)


@BOTH
def test_observations_that_a_step_writes_over_are_refused(mode: AutoresetMode) -> None:
    with pytest.raises(seer.SettingError, match="make envs with copy=True"):
        play(mode, 2, copy=False)


@BOTH
def test_the_loop_of_the_documentation_runs_in_both_modes(mode: AutoresetMode) -> None:
    page = (Path(__file__).parents[2] / "docs/quick_start/own_loop.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    (script,) = [
        block.replace("range(1000)", "range(150)") for block in blocks if '"vectorization_mode": "sync"}' in block
    ]
    script = script.replace('"sync"}', '"sync", "vector_kwargs": {"autoreset_mode": mode}}')
    names: dict[str, Any] = {"mode": mode}
    exec(script, names)
    assert names["envs"].metadata["autoreset_mode"] is mode
    assert 250 < names["replay"].num_steps <= 300
    encoder, batch = names["encoder"], names["replay"].sample(8)
    assert encoder.embed(encoder.prepare(batch.now))[0].shape == (8, 32 * 16 * 16)
