"""A package of somebody else's with an agent and a suite of environments, as docs/extending.md tells."""

from dataclasses import dataclass

from painted import Episode, PaintedEnvironment
from seer.agents.inputs import AgentInputs
from seer.agents.make import make_rainbow
from seer.agents.rainbow import Epsilon, Rainbow
from seer.agents.registry import DQN_PRESET, AgentSpec
from seer.agents.settings import OwnSettings
from seer.envs.registry import EnvOptions, EnvSpec
from seer.registry import Actions, Settings


@dataclass(frozen=True)
class SteadySettings(OwnSettings):
    """Exploration that doesn't end."""

    exploration: float = 0.3
    """Share of random actions, from the first step to the last."""


def make_steady(inputs: AgentInputs) -> Rainbow:
    """Make a DQN that explores as much at the end as at the start."""
    assert isinstance(inputs.own, SteadySettings)
    agent = make_rainbow(inputs)
    agent.epsilon = Epsilon(inputs.own.exploration, inputs.own.exploration, 1)
    return agent


AGENT = AgentSpec(
    "steady", "Steady DQN", "discrete", make=make_steady, own=SteadySettings, has_distributions=True,
    preset={"": DQN_PRESET, "painted/": {"learning.batch_size": 8, "own.exploration": 0.4}},
)  # fmt: skip


def make_painted(env: str, options: EnvOptions, *, training: bool) -> PaintedEnvironment:
    """Make the environment whose episodes are as long as its id says."""
    length = int(env.removeprefix("painted/"))
    frame_shape = (1, options.size, options.size)
    return PaintedEnvironment(episodes=(Episode(length),), frame_shape=frame_shape, stack=options.stack)


def painted_preset(env: str, actions: Actions) -> Settings:
    """Return settings for some seconds of training."""
    return {
        "steps": 60, "eval_every": 30, "eval_episodes": 2, "freeze.at": "40", "learning.first_update": 20,
        "learning.hidden_units": 16, "replay.n_step": 3,
    }  # fmt: skip


SUITE = EnvSpec(
    "painted/", "Painted", "painted/5", "discrete", make=make_painted, preset=painted_preset, channels="grey",
    normalized=lambda env, score: score / int(env.removeprefix("painted/")),
)  # fmt: skip
