"""The model card of an agent, README.md as Hugging Face reads it: YAML between two lines of dashes, then Markdown."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gymnasium.spaces import Discrete

from seer import __version__
from seer.agents.registry import agent_label
from seer.config import Config
from seer.settings import flags_of
from seer.trained.interface import Interface

PAPER = "https://arxiv.org/abs/2103.02886"


@dataclass(frozen=True)
class CardFacts:
    """Hold the facts that a card tells of an agent.

    Attributes:
        config: as it is shared, without places on the machine that trained.
        step: training steps behind the weights.
        refilled_at: step at which the run was prolonged with an empty replay, if it was.
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
    parts = [_front_matter(facts), _introduction(facts), _scores(facts), _use(facts), _interface(facts)]
    return "\n".join([*parts, _training(facts), _limits(facts)])


def _front_matter(facts: CardFacts) -> str:
    config, quoted = facts.config, json.dumps  # JSON's strings are YAML's too
    tags = ["reinforcement-learning", "deep-reinforcement-learning", "seer", config.agent, config.env]
    lines = [
        f"license: {facts.licence[0]}",
        "library_name: seer-rl",
        "pipeline_tag: reinforcement-learning",
        "tags:",
        *(f"- {quoted(tag)}" for tag in tags),
    ]
    if facts.evaluation is not None:
        score = f"{facts.evaluation['mean']:.2f} +/- {facts.evaluation['std']:.2f}"
        lines += [
            "model-index:",
            f"- name: {quoted(facts.name)}",
            "  results:",
            "  - task:",
            "      type: reinforcement-learning",
            "      name: reinforcement-learning",
            "    dataset:",
            f"      name: {quoted(config.env)}",
            f"      type: {quoted(config.env)}",
            "    metrics:",
            "    - type: mean_reward",
            "      name: mean_reward",
            f"      value: {quoted(score)}",
            "      verified: false",
        ]
    return "\n".join(["---", *lines, "---", ""])


def _introduction(facts: CardFacts) -> str:
    frozen = "Its encoder was never frozen."
    if facts.frozen_at is not None:
        frozen = (
            f"Its encoder was frozen at step {facts.frozen_at:,}; from then on it learnt from stored latents, as "
            f"[SEER]({PAPER}) does."
        )
    label, env = agent_label(facts.config.agent), facts.config.env
    about = f"trained for {facts.step:,} steps with seer; version {__version__} wrote this folder and reads it"
    return f"# {label} on {env}\n\nAn agent that acts from pixels, {about}. {frozen}\n"


def _scores(facts: CardFacts) -> str:
    seed = f"1, seed {facts.config.seed}"
    if facts.evaluation is None:
        lines = ["The run holds no evaluation at this step."]
    else:
        found = facts.evaluation
        explores = " but for a random action in 1,000" * isinstance(facts.interface.action_space, Discrete)
        lines = _table(
            [
                ("score, mean ± standard deviation over episodes", f"{found['mean']:,.2f} ± {found['std']:,.2f}"),
                ("evaluated on", f"{_episodes(found)}, without exploration{explores}"),
                ("training runs behind it", seed),
            ]
        )
    curve = ["", "![score over training steps](learning_curve.png)"] if facts.has_curve else []
    return "\n".join(["## Score", "", *lines, *curve, ""])


def _use(facts: CardFacts) -> str:
    return f"""## Use

```sh
hf download USER/{facts.name} --local-dir {facts.name}
```

```python
import seer

agent = seer.load("{facts.name}")
env = agent.make_env(seed=0)  # needs the environment; the lines above don't
observation, _ = env.reset()
action = agent.act(observation)
latents = agent.encode(observation)
```
"""


def _interface(facts: CardFacts) -> str:
    interface, (latents, size) = facts.interface, facts.latent_shape
    stack, (channels, height, width) = interface.stack, interface.frame_shape
    sees = f"uint8 [{stack}, {channels}, {height}, {width}]: the last {stack} frames, oldest first"
    if (packing := interface.packing) is not None:
        cameras = (f"`{name}` uint8 {list(shape)}" for name, shape in packing.cameras.items())
        vectors = (f"`{name}` float32 [{size}]" for name, size in packing.vectors.items())
        sees += f", each with {', '.join((*cameras, *vectors))} as bytes one behind the other"
    rows = [
        ("sees", sees),
        ("a frame", interface.prepare.account),
        ("one step", f"{facts.config.image.action_repeat} of the simulator's"),
        ("acts in", f"`{' '.join(str(interface.translation.space).split())}`"),
        ("latents", f"float32 [{latents}, {size}]"),
        ("weights", f"{facts.num_weights:,} numbers, safetensors"),
    ]
    return "\n".join(["## What it sees and does", "", *_table(rows), ""])


def _training(facts: CardFacts) -> str:
    command = shlex.join(["seer", "train", *flags_of(facts.config)])
    sentences = ["On a CPU the same versions and number of threads give the same figures."]
    if facts.step != facts.config.steps:
        sentences.append(f"The weights are those of step {facts.step:,} of {facts.config.steps:,}.")
    if facts.refilled_at is not None:
        sentences.append(
            f"At step {facts.refilled_at:,} the run was prolonged with an empty replay, which the command doesn't do: "
            "figures are the same up to there."
        )
    if facts.cost is not None:
        sentences.append(f"The run took {facts.cost:.2f} of the FLOPs of the same run without a freeze.")
    sentences.append("All settings are in `config.json`.")
    return "\n".join(["## Training", "", "```sh", command, "```", "", " ".join(sentences), ""])


def _limits(facts: CardFacts) -> str:
    lines = ["One training run: other seeds give other scores."]
    if facts.evaluation is not None:
        lines.append(f"The score is of {_episodes(facts.evaluation)}, in the environment it was trained in.")
    if facts.frozen_at is not None:
        lines.append(
            f"What it makes of a picture was settled at step {facts.frozen_at:,}: it can't adapt to pictures unlike "
            "those until then."
        )
    for name, source in {"encoder": facts.config.freeze.encoder_from, "agent": facts.config.freeze.agent_from}.items():
        if source is not None:
            lines.append(f"The command starts from the {name} of another run, which isn't in this folder.")
    lines += [
        "Made for research. It has seen its simulator alone, and nothing keeps its actions safe on a machine.",
        "No replay, optimiser or target network is in this folder: it acts, and can't be trained on from here.",
    ]
    licence = f"The weights are under {facts.licence[1]} (LICENSE)."
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines), "", "## Licence", "", licence, ""])


def _episodes(evaluation: Mapping[str, Any]) -> str:
    return f"{evaluation['episodes']} whole episode{'s' * (evaluation['episodes'] != 1)}"


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value.replace('|', '/')} |" for name, value in rows)]
