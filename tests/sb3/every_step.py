"""Breakout as people hand it to Stable-Baselines3, last observations missing or odd: samples beside those of SB3.

python -m sb3.every_step [STEPS SAMPLES]    in tests: prints the table
"""

import functools
import sys
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecFrameStack

from seer.integrations.stable_baselines3 import SeerCallback

from .arcade import Twin, borrow, encode_slowly, model

UNIT = 2**-16  # of a step's number, which is added to its reward: float32 holds both
NUM_ENVS = 2


class LastObservations(VecEnvWrapper):
    """Changes or, where None is made of it, takes away what an episode ended with."""

    def __init__(self, venv: VecEnv, change: Callable[[Any], Any]) -> None:
        super().__init__(venv)
        self.change = change

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                last = self.change(info.pop("terminal_observation"))
                info.update({} if last is None else {"terminal_observation": last})
        return observations, rewards, dones, infos


class SkipsNowAndThen(VecEnvWrapper):
    """Repeats the action at every seventh step, unless an episode has just ended: stacks then jump two frames."""

    count = 0

    def reset(self) -> Any:
        return self.venv.reset()

    def step_async(self, actions: Any) -> None:
        self.actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        self.count += 1
        if self.count % 7 == 0 and not dones.any():
            observations, more, dones, infos = self.venv.step(self.actions)
            rewards = rewards + more
        return observations, rewards, dones, infos


class Numbered(VecEnvWrapper):
    """Adds a number of its own to the reward of every step."""

    count = 0

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        self.count += self.num_envs
        return observations, rewards + (self.count + np.arange(self.num_envs)) * UNIT, dones, infos


class Stop(BaseCallback):
    """Once in every 41 calls."""

    def _on_step(self) -> bool:
        return self.n_calls % 41 != 0


def newest_frame(last: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return last[..., -1:]


CASES: dict[str, Callable[[VecEnv], VecEnv]] = {
    "as it should be": lambda env: VecFrameStack(env, 4),
    "no terminal_observation": lambda env: VecFrameStack(LastObservations(env, lambda _last: None), 4),
    "terminal_observation of one frame": lambda env: LastObservations(VecFrameStack(env, 4), newest_frame),
    "terminal_observation all black": lambda env: LastObservations(VecFrameStack(env, 4), np.zeros_like),
    "frames skipped outside": lambda env: SkipsNowAndThen(VecFrameStack(env, 4)),
    "learn stopped and called again": lambda env: VecFrameStack(env, 4),
}  # fmt: skip


def breakout(case: str) -> VecEnv:
    """Lives end, and a time limit of 40 steps cuts."""

    def make(rank: int) -> gymnasium.Env[Any, Any]:
        console, give_back = borrow("ALE/Breakout-v5", rank=rank, frameskip=1)
        env = gymnasium.wrappers.TimeLimit(AtariWrapper(console), 40)
        weakref.finalize(env, give_back)
        return env

    env = DummyVecEnv([functools.partial(make, rank) for rank in range(NUM_ENVS)])
    env.seed(0)
    return Numbered(CASES[case](env))


@dataclass
class Found:
    """What is in a buffer, and in many samples of it, beside Stable-Baselines3's own."""

    case: str
    phase: str
    given: int
    held: int
    plain_held: int
    jumps: int
    sampled: NDArray[np.int64]  # steps of SB3's buffer, number * E + environment
    missing: int  # steps of SB3's buffer, but for the newest of each environment, that weren't sampled
    wrong: int  # samples that aren't the step with their number
    ends: float
    plain_ends: float
    reward: float
    plain_reward: float

    def line(self) -> str:
        return (
            f"| {self.case} | {self.phase} | {self.given:,} | {self.held:,} | {self.plain_held:,} | {self.jumps} | "
            f"{self.missing} | {self.wrong} | {self.ends:.4f} | {self.plain_ends:.4f} | {self.reward:.4f} | "
            f"{self.plain_reward:.4f} |"
        )


HEAD = (
    "| environment | phase | given | held | held by SB3's | jumps | never sampled | wrong | ends | SB3's | reward | "
    "SB3's |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def play(case: str, steps: int, *, rows: int | None = None) -> Any:
    """A model after `steps` or a few more of each environment, not yet frozen; its buffer has `rows` for each."""
    learner: Any = model(
        "DQN", breakout(case), buffer_size=NUM_ENVS * (rows or 10 * steps), train_freq=20, replay_buffer_class=Large
    )
    go_on(learner, case, steps, freeze_at=10**6)
    return learner


def go_on(learner: Any, case: str, steps: int, *, freeze_at: int) -> None:
    """`learn` until the buffer was given `steps` more of every environment."""
    goal = learner.replay_buffer.num_added + steps * NUM_ENVS
    stops = [Stop()] if case == "learn stopped and called again" else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tested elsewhere; VecFrameStack has some, too
        while (left := goal - learner.replay_buffer.num_added) > 0:
            learner.learn(left, callback=[SeerCallback(freeze_at, verbose=0), *stops], reset_num_timesteps=False)


class Large(Twin):
    """Its plain buffer holds all."""

    plain_size = 10_000


def measure(learner: Any, case: str, samples: int) -> Found:
    """Compare `samples` of the buffer with all that the plain one holds."""
    buffer: Twin = learner.replay_buffer
    plain, count = buffer.plain, buffer.plain.pos
    rewards = plain.rewards[:count].ravel()  # [T * E]
    order = np.argsort(rewards)
    pairs = plain.observations[:count], nexts(plain, case, count)
    one, other = images = [each.reshape(-1, *each.shape[2:]) for each in pairs]  # [T * E, S, H, W]
    if buffer.holds_latents:
        one, other = [encode_all(learner, each) for each in images]
    drawn: list[NDArray[np.int64]] = []
    ends = total = wrong = 0.0
    for _ in range(samples // 500):
        batch = buffer.sample(500)
        reward, done = batch.rewards[:, 0].numpy(), batch.dones[:, 0].numpy()
        places = order[np.searchsorted(rewards[order], reward).clip(0, len(order) - 1)]
        steps, envs = np.divmod(places, NUM_ENVS)
        ended = plain.dones[steps, envs] * (1 - plain.timeouts[steps, envs])
        same = (rewards[places] == reward) & (ended == done)
        same &= batch.actions[:, 0].numpy() == plain.actions[steps, envs, 0]
        same &= alike(batch.observations, one[places])
        same &= alike(batch.next_observations, other[places]) | (ended == 1)
        drawn.append(places)
        wrong += float((~same).sum())
        ends += float(done.sum())
        total += float(np.floor(reward).sum())
    unseen = np.setdiff1d(np.arange((count - 1) * NUM_ENVS), sampled := np.unique(np.concatenate(drawn)))
    over = plain.dones[:count] * (1 - plain.timeouts[:count])
    number = samples // 500 * 500
    return Found(
        case, "after" if buffer.holds_latents else "before", buffer.num_added, buffer.num_held, count * NUM_ENVS,
        buffer.num_jumps, sampled, len(unseen), int(wrong), ends / number, float(over.mean()), total / number,
        float(np.floor(rewards).mean()),
    )  # fmt: skip


def nexts(plain: ReplayBuffer, case: str, count: int) -> NDArray[np.uint8]:
    """[T, E, S, H, W], what steps lead to. A last frame alone is repeated in SB3's buffer, where it isn't in ours."""
    after: NDArray[np.uint8] = plain.next_observations[:count].copy()
    if case == "terminal_observation of one frame":
        over = plain.dones[:count] == 1
        after[over, :-1] = plain.observations[:count][over, 1:]
    return after


def encode_all(learner: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    encode = encode_slowly(learner)
    return torch.cat([encode(torch.from_numpy(part)) for part in np.array_split(images, 1 + len(images) // 50)]).numpy()


def alike(stored: Any, expected: NDArray[Any]) -> NDArray[np.bool_]:
    """[B], whether observations as they are sampled, images or features, are those expected."""
    if expected.dtype == np.uint8:
        return np.asarray((stored.numpy() == expected).all(axis=(1, 2, 3)))
    return np.isclose(stored.features.numpy(), expected, rtol=1e-3, atol=1e-4).all(axis=(1, 2))


def both_phases(case: str, steps: int, samples: int) -> list[Found]:
    """What is found before the freeze, and after it when as many steps more were played."""
    learner = play(case, steps)
    before = measure(learner, case, samples)
    go_on(learner, case, steps, freeze_at=int(learner.num_timesteps))
    return [before, measure(learner, case, samples)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = [int(number) for number in sys.argv[1:]] or [750, 20_000]
    print(HEAD)
    for each in CASES:
        for found in both_phases(each, *chosen):
            print(found.line(), flush=True)
