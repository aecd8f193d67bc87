"""That Rainbow learns, before a freeze and anew after it, in an environment with one right action."""

from typing import Any, cast

import gymnasium
import numpy as np
import pytest
import torch

from seer.agents.rainbow import Epsilon
from seer.agents.settings import LearningConfig
from seer.config import Config, ReplayConfig
from seer.core.feature_stability import FeatureStability
from seer.core.flops import FlopsLedger
from seer.core.freeze_rules import FreezeAt
from seer.core.phase import Phase
from seer.envs.base import Info, PixelEnvironment, Pixels, State
from seer.networks.convolutions import DATA_EFFICIENT, Convolution
from seer.replay import MemoryBlock, Prioritized, Replay, RowFormat, Uniform
from seer.signals import StopSignal
from seer.training.drift_monitor import DriftMonitor
from seer.training.events import Events
from seer.training.loop import collect, freeze, learn
from seer.training.state import TrainingState
from small_agent import FRAME_SHAPE, PARTS, STACK, make_agent

BAND = 10  # rows of pixels


class ShownAction(PixelEnvironment):
    """Paints a bright band that says which of three actions pays: the band's number, plus `shift`, modulo 3.

    Episodes of 5 steps terminate and are truncated in turn.
    """

    def __init__(self, frame_shape: tuple[int, int, int] = FRAME_SHAPE) -> None:
        super().__init__(frame_shape, stack=STACK, action_repeat=1, action_space=gymnasium.spaces.Discrete(3))
        self.shift = 0
        self._rng = np.random.default_rng(0)
        self._shown = self._steps = self._episodes = 0

    def render(self) -> Pixels:
        raise NotImplementedError

    def paint(self, shown: int) -> Pixels:
        frame = np.zeros(self.frame_shape, np.uint8)
        frame[:, shown * BAND : (shown + 1) * BAND] = 255
        return frame

    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        self._steps = 0
        self._episodes += 1
        return self._show(), {}

    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        reward = float(action == (self._shown + self.shift) % 3)
        self._steps += 1
        over, truncated = self._steps == 5, self._episodes % 2 == 0
        return self._show(), reward, over and not truncated, over and truncated, {}

    def _show(self) -> Pixels:
        self._shown = int(self._rng.integers(3))
        return self.paint(self._shown)

    def _simulator_state(self) -> State:
        raise NotImplementedError

    def _load_simulator_state(self, state: State) -> None:
        raise NotImplementedError


def accuracy(run: TrainingState) -> float:
    """Of greedy actions, over all pairs of an earlier and a newest frame."""
    environment = cast(ShownAction, run.environment)
    pairs = [(earlier, newest) for earlier in range(3) for newest in range(3)]
    seen = np.stack([[environment.paint(band) for band in pair] for pair in pairs])
    paying = [(newest + environment.shift) % 3 for _, newest in pairs]
    return float(np.mean(run.agent.act(seen) == paying))


class Silent:
    """Events that nobody records."""

    def on_freeze_start(self) -> None: ...
    def on_conversion_progress(self, done: int, total: int) -> None: ...
    def on_freeze(self, transcoding: Any) -> None: ...


def make_run(parts: dict[str, Any], layers: tuple[Convolution, ...]) -> TrainingState:
    environment = ShownAction()
    agent = make_agent(
        **parts, layers=layers, num_actions=3, target_every=25, epsilon=Epsilon(1, 0.1, 300),
        make_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    )  # fmt: skip
    replay = Replay(
        memory=MemoryBlock(80 * 900),
        frame=RowFormat(FRAME_SHAPE, torch.uint8),
        stack=STACK,
        action=RowFormat((), torch.int64),
        n_step=2,
        discount=0.5,
        sampler=Prioritized() if parts["double"] else Uniform(),
        rng=np.random.default_rng(3),
    )
    learning = LearningConfig(first_update=20, batch_size=16)
    config = Config(env="shown action", steps=2000, learning=learning, replay=ReplayConfig(n_step=2))
    environment.reset()
    return TrainingState(
        config=config,
        agent=agent,
        replay=replay,
        environment=environment,
        evaluator=cast(Any, None),
        freeze_rule=FreezeAt(None),
        feature_stability=FeatureStability(observations=8, every=10),
        drift_monitor=DriftMonitor(observations=8, every=10),
        renew=cast(Any, None),
        ledger=FlopsLedger(agent.cost),
    )


def train(run: TrainingState, steps: int) -> None:
    for _ in range(steps):
        run.step += 1
        collect(run)
        if run.step >= run.config.first_update:
            learn(run)


LARGE = (Convolution(32, 5, 5),)  # 32x6x6 float32 are more bytes than 30x30 pixels
TO_LATENTS, TO_FROZEN_FRAMES = (DATA_EFFICIENT, Phase.LATENTS), (LARGE, Phase.FROZEN_FRAMES)


@pytest.mark.parametrize(
    ("name", "layers", "phase"),
    [
        ("rainbow", *TO_LATENTS), pytest.param("dqn", *TO_FROZEN_FRAMES, marks=pytest.mark.slow),
        pytest.param("dqn", *TO_LATENTS, marks=pytest.mark.slow),
        pytest.param("rainbow", *TO_FROZEN_FRAMES, marks=pytest.mark.slow),
    ],
    ids=["rainbow-latents", "dqn-frozen-frames", "dqn-latents", "rainbow-frozen-frames"],
)  # fmt: skip
def test_it_learns_before_the_freeze_and_learns_anew_after_it(
    name: str, layers: tuple[Convolution, ...], phase: Phase
) -> None:
    """After the freeze another action pays, so that what was learnt before is worth nothing."""
    run = make_run(PARTS[name], layers)
    train(run, 200)
    assert accuracy(run) == 1
    freeze(run, cast(Events, Silent()), StopSignal(print))
    assert run.agent.phase is phase
    assert run.replay.holds_latents == (phase is Phase.LATENTS)
    assert accuracy(run) == 1  # the freeze forgets nothing
    cast(ShownAction, run.environment).shift = 1
    assert accuracy(run) == 0
    train(run, 450)
    assert accuracy(run) == 1


@pytest.mark.parametrize("name", [pytest.param("rainbow", marks=pytest.mark.slow), "dqn"])
def test_it_learns_from_latents_of_an_encoder_that_never_did(name: str) -> None:
    run = make_run(PARTS[name], DATA_EFFICIENT)
    train(run, 19)
    freeze(run, cast(Events, Silent()), StopSignal(print))
    train(run, 400)
    assert accuracy(run) == 1
