"""The agents by name, and what the rest of seer knows of each. A new one is an entry here (docs/extending.md)."""

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
    """Describe an agent by its name.

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
        projects: its encoder ends in projections for critic and actor, which the freeze freezes and whose outputs the
            replay stores.
        has_priorities: gives samples priorities, by which the replay may draw.
        has_distributions: learns distributions of returns, on the support that `--min-return` and `--max-return` set,
            unless `--no-distributional`.
        bfloat16_pays: is much faster in bfloat16.
        lost_above_cut: a loss that layers above a cut (`--freeze-layers`) lack after the freeze, for the tables of
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
        """Return the agent's published settings in this environment."""
        parts = [part for prefix, part in self.preset.items() if env.startswith(prefix)]
        return {name: value for part in parts for name, value in part.items()}

    def build(self, inputs: "AgentInputs") -> "Agent[Any]":
        """Make the agent."""
        agent: Agent[Any] = resolve(self.make)(inputs)
        return agent

    def own_settings(self, values: Mapping[str, Any] | None = None) -> OwnSettings:
        """Return the agent's own settings; those that aren't given are at their defaults."""
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

DRQV2_PRESET: dict[str, Settings] = {
    "": {
        "image.size": 84, "image.stack": 3, "replay.prioritized": False, "replay.n_step": 3, "freeze.num_crops": 4,
        "learning.encoder": "sac-ae", "learning.hidden_units": 1024, "learning.batch_size": 256,
        "learning.learning_rate": 1e-4, "learning.adam_epsilon": 1e-8,
        "learning.first_update": 2000, "learning.update_every": 2, "learning.target_every": 1,
        "sac.random_steps": 2000,
    },
    "dm_control/": {
        "steps": 250_000, "eval_every": 10_000, "freeze.at": "100000", "image.action_repeat": 2,
    },
    "dm_control/walker-": {"replay.n_step": 1, "learning.batch_size": 512},
    **{f"dm_control/{task}": {"own.noise_steps": 500_000} for task in (
        "acrobot-swingup", "cartpole-swingup_sparse", "cheetah-run", "finger-turn_", "hopper-hop", "quadruped-",
        "reacher-", "walker-run",
    )},
    "dm_control/humanoid-": {"own.noise_steps": 2_000_000, "learning.learning_rate": 8e-5, "sac.latent_size": 100},
}  # fmt: skip
"""DrQ-v2 (Yarats et al. 2021), tables of settings and of tasks, easy, medium and hard; tasks outside them as easy ones.
500,000 simulator frames, as most runs of SEER, where the paper has 1 to 30 million. T_f is ours: at 100,000 steps the
encoder has seen as many frames (200,000) and made as many updates (49,000) as CURL's at SEER's most common T_f (50,000
steps of 4 frames with an update each), after the same share of the run, and the noise of easy tasks has fallen."""

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
        AgentSpec(
            "drqv2", "DrQ-v2", "continuous", make="seer.agents.drqv2:make", own="seer.agents.drqv2:DrqV2Settings",
            preset=DRQV2_PRESET, views="shifts", projects=True,
        ),
    ],
    places=AgentSpec,
)  # fmt: skip

DEFAULTS: Mapping[Actions, str] = {"discrete": "rainbow", "continuous": "curl"}
"""The agent where none is named."""

register = AGENTS.register


def agent_label(name: str) -> str:
    """Return an agent's label for readers; of one that isn't installed here, its name."""
    try:
        return AGENTS[name].label
    except SettingError:
        return name


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
