"""The agents: what the rest of seer knows of each by its name. A new one is an entry here (docs/extending.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from seer.agents.settings import OwnSettings
from seer.errors import SettingError
from seer.registry import Actions, Registry, Settings, resolve

if TYPE_CHECKING:  # an entry is read wherever a setting is, and mustn't load PyTorch
    from seer.agents.agent import Agent
    from seer.agents.inputs import AgentInputs


@dataclass(frozen=True)
class AgentSpec:
    """An agent by its name.

    Attributes:
        name: as `--agent` takes it.
        label: as pictures and reports call it.
        actions: those it can take.
        make: makes the agent of `AgentInputs`; or "module:function", imported when it is needed.
        preset: its published settings, by how the environment's id begins ("" is every one), later ones over earlier
            ones and over the environment's own.
        own: the dataclass of settings that no other agent has, or "module:class"; flags of their own.
        channels: how it sees Gymnasium's pictures where `--image-channels` is auto.
        views: what it sees of a picture in training: all of it, random crops of a larger one, or all of it at random
            shifts.
        projects: stores the latents of its critic's and its actor's projection, not the outputs of convolutions.
        has_priorities: gives samples priorities, by which the replay may draw.
        has_distributions: learns distributions of returns, on the support that `--min-return` and `--max-return` set,
            unless `--no-distributional`.
        bfloat16_pays: is much faster in bfloat16.
        lost_above_cut: what layers above a cut (`--freeze-layers`) learn without after the freeze, for the tables of
            reproductions.
    """

    name: str
    label: str
    actions: Actions
    make: "Callable[[AgentInputs], Agent[Any]] | str"
    preset: Mapping[str, Settings]
    own: type[OwnSettings] | str = OwnSettings
    channels: Literal["grey", "as shown"] = "as shown"
    views: Literal["whole", "crops", "shifts"] = "whole"
    projects: bool = False
    has_priorities: bool = False
    has_distributions: bool = False
    bfloat16_pays: bool = False
    lost_above_cut: str = ""

    def preset_for(self, env: str) -> Settings:
        """Return its published settings in this environment."""
        parts = [part for prefix, part in self.preset.items() if env.startswith(prefix)]
        return {name: value for part in parts for name, value in part.items()}

    def build(self, inputs: "AgentInputs") -> "Agent[Any]":
        """Make the agent."""
        agent: Agent[Any] = resolve(self.make)(inputs)
        return agent

    def own_settings(self, values: Mapping[str, Any] | None = None) -> OwnSettings:
        """Return its own settings, those that aren't given at their defaults."""
        made: OwnSettings = resolve(self.own)(**(values or {}))
        return made


ONE_THREAD: Settings = {"threads": 1}
"""Small batches gain little from more threads, and lose nearly everything where another process wants a core."""

SAC_PRESET: Settings = {
    "image.crop_size": 84, "replay.prioritized": False, "replay.n_step": 1, "freeze.num_crops": 4,
    "learning.encoder": "sac-ae", "learning.hidden_units": 1024, "learning.adam_epsilon": 1e-8,
    "learning.first_update": 1000, "learning.target_every": 2,
}  # fmt: skip
"""SEER, appendix, DMControl settings; those of each task come from the environment."""

DQN_PRESET: Settings = {
    **ONE_THREAD,
    "value.double": False, "value.dueling": False, "value.noisy": False, "value.distributional": False,
    "replay.prioritized": False, "replay.n_step": 1,
}  # fmt: skip
"""DQN is Rainbow with its parts off."""

AGENTS: Registry[AgentSpec] = Registry(
    "--agent",
    "seer.agents",
    [
        AgentSpec(
            "rainbow", "Rainbow", "discrete", make="seer.agents.make:make_rainbow", preset={"": ONE_THREAD},
            channels="grey", has_priorities=True, has_distributions=True,
        ),
        AgentSpec(
            "dqn", "DQN", "discrete", make="seer.agents.make:make_rainbow", preset={"": DQN_PRESET},
            channels="grey", has_priorities=True, has_distributions=True,
        ),
        AgentSpec(
            "sac", "SAC", "continuous", make="seer.agents.make:make_sac", preset={"": SAC_PRESET},
            views="crops", projects=True, bfloat16_pays=True,
        ),
        AgentSpec(
            "curl", "CURL", "continuous", make="seer.agents.make:make_curl", preset={"": SAC_PRESET},
            views="crops", projects=True, bfloat16_pays=True,
            lost_above_cut="CURL's contrastive loss, which ends at the freeze",
        ),
    ],
)  # fmt: skip

DEFAULTS: Mapping[Actions, str] = {"discrete": "rainbow", "continuous": "curl"}
"""The agent where none is named."""

register = AGENTS.register


def agent_label(name: str) -> str:
    """Return what a reader is told for an agent's name; of one that isn't installed here, the name."""
    return AGENTS[name].label if name in AGENTS.names() else name


def refuse_other_actions(spec: AgentSpec, actions: Actions, env: str) -> None:
    """Refuse an agent that can't take an environment's actions.

    Raises:
        SettingError: it can't; names the agents that can.
    """
    if spec.actions == actions:
        return
    able = [each.name for each in AGENTS.specs() if each.actions == actions]
    able.sort(key=lambda name: name != DEFAULTS[actions])
    raise SettingError(
        f"--agent {spec.name} needs {spec.actions} actions; for {env} use {', '.join(able[:-1])} or {able[-1]}"
    )
