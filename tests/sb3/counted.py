"""Small environments of random pictures, and every sample of the buffer beside those of Stable-Baselines3's own.

Every step has a reward of its own, by which a sample is known; episodes have random lengths and ends.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from torch import Tensor

from seer.integrations.stable_baselines3 import SeerReplayBuffer

from .arcade import encode_slowly, flat

HISTORY = 2000  # steps of each environment that Stable-Baselines3's buffer holds: all
PICTURE = spaces.Box(0, 255, (36, 36, 1), np.uint8)
JOYSTICK = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))


class Counted(gymnasium.Env[Any, Any]):
    """Random observations; episodes of 1 to 12 steps, of which every other one is cut."""

    def __init__(self, space: spaces.Space[Any], actions: spaces.Space[Any], seed: int) -> None:
        self.observation_space, self.action_space = copy.deepcopy((space, actions))
        self.observation_space.seed(seed)
        self.action_space.seed(seed)
        self._rng = np.random.default_rng(seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._left = int(self._rng.integers(1, 13))
        self._is_cut = bool(self._rng.random() < 0.5)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self._left -= 1
        over, reward = self._left == 0, float(self._rng.integers(2**20)) / 2**10
        return self.observation_space.sample(), reward, over and not self._is_cut, over and self._is_cut, {}


def counted(
    num_envs: int = 1, *, space: spaces.Space[Any] = PICTURE, actions: spaces.Space[Any] | None = None, seed: int = 0,
    wrap: Callable[[Any], Any] = Monitor, make: Callable[[Any], VecEnv] = DummyVecEnv,
) -> VecEnv:  # fmt: skip
    """Return environments of their own seeds; `wrap` is put around each."""

    def one(rank: int) -> Any:
        return wrap(Counted(space, actions or spaces.Discrete(3), 1000 * seed + rank))

    return make([functools.partial(one, rank) for rank in range(num_envs)])


class Beside(SeerReplayBuffer):
    """Every step also goes into the buffer that Stable-Baselines3 would have used, which holds all of them."""

    plain: ReplayBuffer

    def add(self, *step: Any) -> None:
        super().add(*step)
        if not hasattr(self, "plain"):
            self.plain = self._make_plain()
        self.plain.add(*copy.deepcopy(step))

    def _make_plain(self) -> ReplayBuffer:
        kinds: dict[bool, Any] = {True: DictReplayBuffer, False: ReplayBuffer}
        kind = kinds[isinstance(self.observation_space, spaces.Dict)]
        options: dict[str, Any] = {"handle_timeout_termination": self.handle_timeout_termination}
        if self.n_steps > 1:
            kind, options = NStepReplayBuffer, options | {"n_steps": self.n_steps, "gamma": self.gamma}
        size = HISTORY * self.n_envs
        return kind(size, self.observation_space, self.action_space, device="cpu", n_envs=self.n_envs, **options)


def learner(env: VecEnv, **options: Any) -> Any:
    """A small DQN or SAC; it learns seldom."""
    is_dict = isinstance(env.observation_space, spaces.Dict)
    size = "cnn_output_dim" if is_dict else "features_dim"
    kwargs = {"net_arch": [8], "features_extractor_kwargs": {size: 16}} | options.pop("policy_kwargs", {})
    return (SAC if isinstance(env.action_space, spaces.Box) else DQN)(
        "MultiInputPolicy" if is_dict else "CnnPolicy", env, seed=0, device="cpu", policy_kwargs=kwargs,
        **{"buffer_size": 4000, "learning_starts": 8, "batch_size": 4, "train_freq": 20} |
        {"replay_buffer_class": Beside, "gamma": 0.9} | options,
    )  # fmt: skip


def windows(plain: ReplayBuffer) -> dict[str, NDArray[Any]]:
    """Return everything that SB3's buffer can give, by `start`, and the return it is known by."""
    starts = np.repeat(np.arange(plain.pos), 30 if plain.n_envs > 1 else 1)  # of environments drawn at random
    batch = plain._get_samples(starts)
    rewards, first = np.unique(batch.rewards[:, 0].numpy(), return_index=True)
    assert len(first) == plain.pos * plain.n_envs  # no two alike, none missed
    columns = {"now": batch.observations, "next": batch.next_observations, "action": batch.actions}
    columns = {name: flat(value) for name, value in columns.items()} | {"done": batch.dones[:, 0]}
    columns["discount"] = columns["done"][:, None] if batch.discounts is None else batch.discounts
    return {name: value[first].numpy() for name, value in columns.items()} | {"reward": rewards, "start": starts[first]}


def compare(model: Any, *, newest: int = HISTORY) -> None:
    """Check that samples are SB3's, each bit for bit, and that none is missing among the `newest` steps."""
    buffer: Beside = model.replay_buffer
    known = windows(buffer.plain)
    count = 15 * buffer.num_held  # that none is missed by chance
    batch = buffer.sample(count)
    reward = batch.rewards[:, 0].numpy()
    right = np.searchsorted(known["reward"], reward).clip(1, len(known["reward"]) - 1)
    places = np.where(known["reward"][right] - reward < reward - known["reward"][right - 1], right, right - 1)
    np.testing.assert_allclose(reward, known["reward"][places], rtol=1e-6)  # sums in another order
    going_on = known["done"][places] == 0
    np.testing.assert_array_equal(batch.actions, known["action"][places])
    np.testing.assert_array_equal(batch.dones[:, 0], ~going_on)
    assert 0 < going_on.sum() < count
    if buffer.n_steps > 1:
        np.testing.assert_allclose(batch.discounts[going_on], known["discount"][places][going_on], rtol=1e-6)
    encode = encode_slowly(model) if buffer.holds_latents else None
    plain = buffer.plain
    for name, mine, kept in (
        ("now", batch.observations, np.ones(count, bool)), ("next", batch.next_observations, going_on),
    ):  # fmt: skip
        theirs = torch.from_numpy(known[name])
        if encode is None:
            np.testing.assert_array_equal(flat(mine)[kept], theirs[places][kept])
        else:
            latents = encode(whole(theirs, plain)).flatten(1)[places]
            torch.testing.assert_close(mine.features.flatten(1)[kept], latents[kept], rtol=1e-3, atol=1e-4)
    last = plain.pos - buffer.n_steps  # its window has no row for what follows yet
    wanted = (known["start"] < last) & (known["start"] >= last - newest)
    assert set(np.flatnonzero(wanted)) <= set(places)


def whole(flattened: Tensor, plain: ReplayBuffer) -> Any:
    """Return observations as networks take them, of what `flat` made."""
    space = plain.observation_space
    if not isinstance(space, spaces.Dict):
        return flattened.view(-1, *space.shape).to(torch.uint8 if space.dtype == np.uint8 else torch.float32)
    shapes = {key: plain.obs_shape[key] for key in space.spaces}
    parts = flattened.split([int(np.prod(shape)) for shape in shapes.values()], dim=1)
    dtypes = {key: torch.from_numpy(np.empty(0, one.dtype)).dtype for key, one in space.spaces.items()}
    return {
        key: part.reshape(-1, *shape).to(dtypes[key]) for part, (key, shape) in zip(parts, shapes.items(), strict=True)
    }
