"""Real games in short episodes, small models, and a buffer that keeps Stable-Baselines3's own beside it."""

import copy
import functools
import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import QRDQN, TQC
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.atari_wrappers import WarpFrame
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack
from torch import Tensor

from seer.integrations.stable_baselines3 import SeerCallback, SeerReplayBuffer
from seer.integrations.stable_baselines3.extractors import networks

gymnasium.register_envs(ale_py)

SHARED = {"share_features_extractor": True}
ONE_LAYER: dict[str, Any] = {"net_arch": []}  # so that only convolutions are frozen
ALGORITHMS: dict[str, tuple[type[OffPolicyAlgorithm], dict[str, Any]]] = {
    "DQN": (DQN, {}),
    "DQN convolutions": (DQN, ONE_LAYER),
    "QRDQN": (QRDQN, {"n_quantiles": 5}),
    "SAC": (SAC, {}),
    "SAC shared convolutions": (SAC, SHARED | ONE_LAYER),
    "SAC shared": (SAC, SHARED),
    "TD3": (TD3, {}),
    "TD3 shared": (TD3, SHARED),
    "TQC": (TQC, {}),
}


class Console(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A game that is loaded once, which takes the emulator longer than hundreds of steps; a seed begins it anew."""

    loaded: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        emulator = self.unwrapped.ale  # type: ignore[attr-defined]
        if self.loaded is None:
            self.env.reset(seed=seed)
            self.loaded = emulator.cloneState(include_rng=True)
        if seed is not None:
            self.unwrapped.np_random = np.random.default_rng(seed)
        emulator.restoreState(self.loaded)
        return self.env.reset()


UNUSED: dict[str, list[Console]] = defaultdict(list)
"""Consoles of tests that have ended, by what they were made of."""


def borrow(game: str, *, rank: int, **options: Any) -> tuple[Console, Callable[[], None]]:
    """A console, and what gives it back; one of each rank, which is also its seed."""
    unused = UNUSED[f"{game} {rank} {options}"]
    if not unused:
        unused.append(Console(gymnasium.make(game, repeat_action_probability=0.0, **options)))
    console = unused.pop()
    return console, functools.partial(unused.append, console)


class EndsNowAndThen(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Terminates after 9, truncates after 14 steps, in turns, and goes on with the game where it was.

    The game is some way in when the first episode begins, further in the next environment: Pong's first pictures are
    all alike.
    """

    lengths = ((9, True), (14, False))

    def __init__(self, env: gymnasium.Env[Any, Any], rank: int) -> None:
        super().__init__(env)
        self.rank = rank
        self.episode = -1
        self.over = True  # the game itself

    def reset(self, **options: Any) -> Any:
        self.episode += 1
        self.left, self.terminates = self.lengths[self.episode % 2]
        if not self.over:
            observation, *_, info = self.env.step(self.action_space.sample())
            return observation, info
        self.env.reset(seed=self.rank)
        self.action_space.seed(self.rank)
        for _ in range(40 + 30 * self.rank):
            observation, *_, info = self.env.step(self.action_space.sample())
        self.over = False
        return observation, info

    def step(self, action: Any) -> Any:
        observation, reward, self.over, _, info = self.env.step(action)
        self.left -= 1
        done = self.left == 0 or self.over
        return observation, float(reward) + self.left, done and self.terminates, done and not self.terminates, info


class WithPaddles(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The picture, and two bytes of the console's memory as numbers."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        paddles = spaces.Box(0, 1, (2,), np.float32)
        self.observation_space = spaces.Dict({"picture": env.observation_space, "paddles": paddles})

    def observation(self, observation: Any) -> Any:
        memory = self.env.unwrapped.ale.getRAM()  # type: ignore[attr-defined]
        return {"picture": observation, "paddles": memory[[51, 60]].astype(np.float32) / 255}


def arcade(
    *, continuous: bool = False, num_envs: int = 1, stack: int = 4, paddles: bool = False, game: str = "ALE/Pong-v5"
) -> VecEnv:
    """Pong from 84x84 pictures, as people hand it to Stable-Baselines3."""

    def make(rank: int) -> gymnasium.Env[Any, Any]:
        console, give_back = borrow(game, rank=rank, continuous=continuous, frameskip=4)
        env = WarpFrame(console)
        episodes = EndsNowAndThen(WithPaddles(env) if paddles else env, rank)
        weakref.finalize(episodes, give_back)
        return Monitor(episodes)

    env: VecEnv = DummyVecEnv([functools.partial(make, rank) for rank in range(num_envs)])
    return VecFrameStack(env, stack) if stack > 1 else env


class Twin(SeerReplayBuffer):
    """Every step also goes, whole, into the buffer that Stable-Baselines3 would have used."""

    plain: ReplayBuffer
    plain_size = 400

    def add(  # noqa: PLR0917  # SB3's order
        self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any
    ) -> None:  # fmt: skip
        if not hasattr(self, "plain"):
            make = DictReplayBuffer if isinstance(self.observation_space, spaces.Dict) else ReplayBuffer
            self.plain = make(
                self.plain_size * self.n_envs, self.observation_space, self.action_space, "cpu", self.n_envs
            )  # type: ignore[arg-type]
        self.plain.add(*copy.deepcopy((obs, next_obs, action, reward, done, infos)))
        super().add(obs, next_obs, action, reward, done, infos)


def model(
    algorithm: str = "DQN", env: VecEnv | None = None, *, features: int = 16, buffer_size: int = 400,
    policy_kwargs: dict[str, Any] | None = None, **options: Any,
) -> OffPolicyAlgorithm:  # fmt: skip
    """A small model of an algorithm; it would take three lines less without SEER."""
    make, own = ALGORITHMS[algorithm]
    discrete = "DQN" in algorithm
    env = env or arcade(continuous=not discrete)
    is_dict = isinstance(env.observation_space, spaces.Dict)
    size = "cnn_output_dim" if is_dict else "features_dim"
    kwargs = {"net_arch": [16], "features_extractor_kwargs": {size: features}} | own | (policy_kwargs or {})
    return make(
        "MultiInputPolicy" if is_dict else "CnnPolicy", env, buffer_size=buffer_size, learning_starts=20, batch_size=8,
        **{"train_freq": 4, "seed": 0, "device": "cpu", "policy_kwargs": kwargs, "replay_buffer_class": Twin} | options,
    )  # fmt: skip


Transitions = dict[str, Tensor]


def all_transitions(buffer: Twin, encode: Callable[[Any], Tensor] | None = None) -> Transitions:
    """Everything the plain buffer holds, observations encoded or flattened, [T, ...]."""
    plain = buffer.plain
    steps, envs = np.meshgrid(np.arange(plain.pos), np.arange(plain.n_envs))
    steps, envs = steps.ravel(), envs.ravel()
    done = plain.dones[steps, envs] * (1 - plain.timeouts[steps, envs])
    return {
        "now": flat(pick(plain.observations, steps, envs), encode),
        "next": flat(pick(plain.next_observations, steps, envs), encode),
        "action": torch.from_numpy(plain.actions[steps, envs]),
        "reward": torch.from_numpy(plain.rewards[steps, envs]),
        "done": torch.from_numpy(done),
    }


def pick(observations: Any, steps: NDArray[np.int64], envs: NDArray[np.int64]) -> Any:
    if isinstance(observations, dict):
        return {key: torch.from_numpy(value[steps, envs]) for key, value in observations.items()}
    return torch.from_numpy(observations[steps, envs])


def flat(observation: Any, encode: Callable[[Any], Tensor] | None = None) -> Tensor:
    """[T, everything else] of observations."""
    if encode is not None:
        return encode(observation).flatten(1)
    if isinstance(observation, dict):
        return torch.cat([value.flatten(1).float() for value in observation.values()], dim=1)
    return torch.as_tensor(observation).flatten(1).float()


def sampled(buffer: SeerReplayBuffer, count: int = 600) -> Transitions:
    """Many samples in the same form."""
    batch = buffer.sample(count)
    features = hasattr(batch.observations, "features")
    now, after = batch.observations, batch.next_observations
    return {
        "now": now.features.flatten(1) if features else flat(now),
        "next": after.features.flatten(1) if features else flat(after),
        "action": batch.actions,
        "reward": batch.rewards[:, 0],
        "done": batch.dones[:, 0],
    }


def which(samples: Transitions, transitions: Transitions, *, rounding: float = 1e-6) -> Tensor:
    """[samples, transitions]: which transition a sample could be; where one has ended its next doesn't count.

    Features may differ by the rounding of one batch size or another, and of what they are stored as.
    """
    tolerance = rounding * (10 + float(transitions["now"].norm(dim=1).max()))
    agree = torch.cdist(samples["now"].double(), transitions["now"].double()) < tolerance
    ended = transitions["done"][None].bool()
    agree &= (torch.cdist(samples["next"].double(), transitions["next"].double()) < tolerance) | ended
    agree &= (samples["action"][:, None] == transitions["action"][None]).all(-1)
    agree &= samples["reward"][:, None] == transitions["reward"][None]
    agree &= samples["done"][:, None] == transitions["done"][None]
    return agree


def encode_slowly(learner: Any) -> Any:
    """What is frozen of features [B, N, L] of images, by SB3's own method and what the policy's networks hold."""

    def module(network: Any) -> Any:
        return network.features_extractor if learner.policy.net_arch else network.features_extractor.cnn

    parts: dict[int, Any] = {}
    for network in networks(learner.policy).values():
        parts.setdefault(id(module(network)), network)

    def encode(observation: Any) -> Tensor:
        with torch.no_grad():
            return torch.stack(
                [type(n).extract_features(n, observation, module(n).eval()) for n in parts.values()], dim=1
            )

    return encode


def extractor_state(learner: Any) -> dict[str, Tensor]:
    state = learner.policy.state_dict()
    below = "features_extractor" if learner.policy.net_arch else "features_extractor.cnn"
    return {name: value.clone() for name, value in state.items() if below in name}


def trained(algorithm: str, steps: int = 80, freeze_at: int = 40, **options: Any) -> Any:
    learner = model(algorithm, **options)
    return learner.learn(steps, callback=SeerCallback(freeze_at, verbose=0))


def quiet(freeze_at: Any = 40, **options: Any) -> SeerCallback:
    return SeerCallback(freeze_at, verbose=0, **options)
