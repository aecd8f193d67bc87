"""The paper's settings per environment (SEER, appendix), as changes to the defaults in `config.py`."""

import dataclasses
from dataclasses import dataclass

from seer.config import (
    AgentName,
    Config,
    FreezeConfig,
    ImageConfig,
    LearningConfig,
    ReplayConfig,
    ValueConfig,
)

CONTROL = "dm_control/"
"""How ids of DeepMind Control begin."""

COMMON_ATARI_FREEZE = 50_000
"""T_f of most of the paper's games; used for games outside its table."""

ATARI_FREEZE = {
    "Alien": 50_000,
    "Amidar": 50_000,
    "BankHeist": 50_000,
    "CrazyClimber": 100_000,
    "Krull": 50_000,
    "Qbert": 100_000,
    "RoadRunner": 50_000,
    "Seaquest": 50_000,
}
"""T_f in training steps, replay as large as the run (SEER, appendix, Atari settings)."""

DQN_PARTS = ValueConfig(double=False, dueling=False, noisy=False, distributional=False)


@dataclass(frozen=True)
class ControlTask:
    """What the paper sets per task; steps are training steps."""

    action_repeat: int = 4
    steps: int = 125_000
    freeze_at: int = 50_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    eval_every: int = 10_000


ONE_PICTURE_A_STEP = 1
"""Action repeat in environments of Gymnasium, many of which repeat actions themselves."""

COMMON_CONTROL_TASK = ControlTask()
"""For tasks outside the paper's table: 500,000 environment steps at action repeat 4, its most common T_f."""

CONTROL_TASKS = {
    "cartpole-swingup": ControlTask(action_repeat=8, steps=80_000, freeze_at=10_000, eval_every=2_500),
    "finger-spin": ControlTask(action_repeat=2, steps=250_000),
    "reacher-easy": ControlTask(),
    "cheetah-run": ControlTask(freeze_at=80_000, batch_size=512, learning_rate=2e-4),
    "walker-walk": ControlTask(action_repeat=2, steps=250_000, freeze_at=60_000),
    "walker-stand": ControlTask(action_repeat=2, steps=250_000, freeze_at=60_000),
}
"""SEER, appendix, DMControl settings; walker-stand, which the paper only pretrains on, as walker-walk."""


def preset(env: str, agent: AgentName | None = None, *, transfer: bool = False) -> Config:
    """The paper's settings for an environment id; by default Rainbow for discrete actions and CURL for continuous ones.

    `transfer`: the encoder comes from another run, so it is frozen from the start.

    Raises:
        SettingError: the environment is neither of Atari nor of DeepMind Control and Gymnasium can't make it.
    """
    if env.startswith(CONTROL):
        config = _control(env, agent or "curl")
    elif env.startswith("ALE/"):
        config = _atari(env, agent or "rainbow")
    else:
        config = _generic(env, agent)
    return dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, at="0")) if transfer else config


def _atari(env: str, agent: AgentName) -> Config:
    """Rainbow; DQN is Rainbow with its parts off."""
    game = env.removeprefix("ALE/").split("-")[0]
    freeze_at = str(ATARI_FREEZE.get(game, COMMON_ATARI_FREEZE))
    # One thread: small batches gain little from more, and lose nearly everything where another process wants a core.
    config = Config(env=env, agent=agent, freeze=FreezeConfig(at=freeze_at), threads=1)
    if agent == "dqn":
        return dataclasses.replace(config, value=DQN_PARTS, replay=ReplayConfig(prioritized=False, n_step=1))
    return config


def _generic(env: str, agent: AgentName | None) -> Config:
    """The agent that fits the actions, as it is set on Atari or on DeepMind Control."""
    if agent is None:
        from seer.envs import is_discrete

        agent = "rainbow" if is_discrete(env) else "curl"
    config = _control(env, agent) if agent in ("sac", "curl") else _atari(env, agent)
    return dataclasses.replace(config, image=dataclasses.replace(config.image, action_repeat=ONE_PICTURE_A_STEP))


def _control(env: str, agent: AgentName) -> Config:
    """CURL; SAC is CURL without its contrastive loss."""
    task = CONTROL_TASKS.get(env.removeprefix(CONTROL).removesuffix("-v0"), COMMON_CONTROL_TASK)
    crops = agent in ("sac", "curl")
    return Config(
        env=env,
        agent=agent,
        steps=task.steps,
        eval_every=task.eval_every,
        image=ImageConfig(size=100, crop_size=84 if crops else None, stack=3, action_repeat=task.action_repeat),
        replay=ReplayConfig(prioritized=False, n_step=1),
        freeze=FreezeConfig(at=str(task.freeze_at), num_crops=4 if crops else 1),
        learning=LearningConfig(
            encoder="sac-ae",
            batch_size=task.batch_size,
            hidden_units=1024,
            learning_rate=task.learning_rate,
            adam_epsilon=1e-8,
            first_update=1000,
            target_every=2,
        ),
    )
