"""The model card of an agent, README.md as Hugging Face reads it; its text is card.md.jinja."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seer import __version__
from seer.agents.registry import agent_label
from seer.config import Config
from seer.settings import flags_of
from seer.trained.interface import Interface


@dataclass(frozen=True)
class CardFacts:
    """Hold the facts that a card tells of an agent.

    Attributes:
        config: as it is shared, without places on the machine that trained.
        step: training steps behind the weights.
        refilled_at: step at which the run was prolonged with an empty replay, if it was.
        rule_from: step at which the rule of its freeze was chosen, if that was on the way.
        frozen_at: step of the freeze; None where there was none by then.
        evaluation: the run's record of an evaluation at that step, if there is one.
        cost: share of the multiply-adds of the same run without a freeze, if it is finished.
        has_curve: learning_curve.png lies beside the card.
        licence: identifier and name.
        num_weights: numbers in the file of weights.
        latent_shape: (N, L).
    """

    config: Config
    interface: Interface
    step: int
    refilled_at: int | None
    rule_from: int | None
    frozen_at: int | None
    evaluation: Mapping[str, Any] | None
    cost: float | None
    has_curve: bool
    licence: tuple[str, str]
    num_weights: int
    latent_shape: tuple[int, int]

    @property
    def name(self) -> str:
        """Return the model's name: agent, environment, seed."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.config.agent}-{self.config.env}-{self.config.seed}").strip("-")


def card_text(facts: CardFacts) -> str:
    """Return the content of README.md."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = json.dumps  # JSON's strings are YAML's too
    environment.filters["in_a_cell"] = lambda value: " ".join(str(value).split()).replace("|", "/")
    return environment.get_template("card.md.jinja").render(
        facts=facts,
        score=facts.evaluation,
        episodes=_episodes(facts.evaluation),
        label=agent_label(facts.config.agent),
        discrete=isinstance(facts.interface.action_space, Discrete),
        sees=_observation(facts.interface),
        command=shlex.join(["seer", "train", *flags_of(facts.config)]),
        version=__version__,
    )


def _episodes(evaluation: Mapping[str, Any] | None) -> str:
    count = 0 if evaluation is None else evaluation["episodes"]
    return f"{count} whole episode{'s' * (count != 1)}"


def _observation(interface: Interface) -> str:
    """Say what an observation is."""
    stack, (channels, height, width) = interface.stack, interface.frame_shape
    sees = f"uint8 [{stack}, {channels}, {height}, {width}]: the last {stack} frames, oldest first"
    if (packing := interface.packing) is None:
        return sees
    cameras = (f"`{name}` uint8 {list(shape)}" for name, shape in packing.cameras.items())
    vectors = (f"`{name}` float32 [{size}]" for name, size in packing.vectors.items())
    return f"{sees}, each with {', '.join((*cameras, *vectors))} as bytes one behind the other"
