"""Evaluation: whole games without exploration, several at a time in lock-step.

Axes: B games being played, S stack, C, H, W.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seer.agents.agent import Agent
from seer.envs.base import PixelEnvironment
from seer.errors import LearningError

LONGEST_GAME = 110_000
"""Simulator frames; Atari's own limit is 108,000, DeepMind Control's below it."""


@dataclass(frozen=True)
class Evaluation:
    """Hold scores and lengths (in steps) of whole games, in the order in which they were started."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Return the mean score."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Return the standard deviation of the scores over the games (population)."""
        return float(np.std(self.returns))


class Evaluator:
    """Play whole games with an agent, as many at a time as there are environments.

    Args:
        environments: made for evaluation: whole games, raw rewards.
        epsilon: probability of a uniformly random action (SEER, Atari protocol: 0.001).
        seed: decides, with the step, every game's start; an evaluation depends on nothing else.
    """

    def __init__(self, environments: Sequence[PixelEnvironment], *, epsilon: float, seed: int) -> None:
        self.environments, self.epsilon, self.seed = environments, epsilon, seed

    def __call__(
        self,
        agent: Agent[Any],
        *,
        episodes: int,
        step: int,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        on_frame: Callable[[PixelEnvironment], None] | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> Evaluation | None:
        """Play `episodes` games, whose starts depend on the seed and on `step`.

        `progress` is called with the games finished and the games in all, `on_frame` with the environment of the first
        game, at its start and after every step. `stop_requested` is called before every step; where it returns True,
        the result is None.

        Raises:
            LearningError: a game goes on for ever.
        """
        rng = np.random.default_rng([self.seed, step])
        waiting = deque((episode, int(seed)) for episode, seed in enumerate(rng.integers(2**31, size=episodes)))
        results: dict[int, tuple[float, int]] = {}
        playing: dict[int, int] = {}  # environment -> episode

        def show(index: int) -> None:
            if on_frame and playing[index] == 0:
                on_frame(self.environments[index])

        def start(index: int) -> None:
            if not waiting:
                return
            playing[index], seed = waiting.popleft()
            self.environments[index].restart(seed=seed)
            show(index)

        for index in range(len(self.environments)):
            start(index)
        while playing:
            if stop_requested():
                return None
            indices = list(playing)
            # Observed together after all have advanced: pictures are drawn while others' simulators advance.
            actions = agent.act(np.stack([self.environments[index].observe() for index in indices]))
            for index, greedy in zip(indices, actions, strict=True):
                environment = self.environments[index]
                explores = rng.random() < self.epsilon
                episode = _play(environment, _random_action(environment, rng) if explores else greedy)
                show(index)
                if episode is not None:
                    results[playing.pop(index)] = (episode["return"], episode["length"])
                    start(index)
                    progress(len(results), episodes)
        returns, lengths = zip(*(results[episode] for episode in range(episodes)), strict=True)
        return Evaluation(returns, lengths)


def _play(environment: PixelEnvironment, action: Any) -> dict[str, Any] | None:
    """Take one step; return score and length of the game if it has ended."""
    _, terminated, truncated, info = environment.advance(action)
    if terminated or truncated:
        episode: dict[str, Any] = info["episode"]
        return episode
    if environment.length * environment.action_repeat > LONGEST_GAME:
        length = f"{environment.length:,} steps"
        raise LearningError(
            f"a game of the evaluation hasn't ended after {length}: begin anew with --max-episode-steps, which cuts it"
        )
    return None


def _random_action(environment: PixelEnvironment, rng: np.random.Generator) -> Any:
    environment.action_space.seed(int(rng.integers(2**31)))
    return environment.action_space.sample()
