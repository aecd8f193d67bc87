"""The paper's settings of each game and task (SEER, appendix), as changes to the defaults in `config.py`."""

from dataclasses import dataclass

from seer.registry import Actions, Settings

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


def atari_preset(env: str, actions: Actions) -> Settings:  # noqa: ARG001 (all games are discrete)
    """Return the paper's settings of a game."""
    game = env.removeprefix("ALE/").split("-")[0]
    return {"freeze.at": str(ATARI_FREEZE.get(game, COMMON_ATARI_FREEZE))}


def control_preset(env: str, actions: Actions) -> Settings:  # noqa: ARG001 (all tasks are continuous)
    """Return the paper's settings of a task."""
    task = CONTROL_TASKS.get(env.removeprefix("dm_control/").removesuffix("-v0"), COMMON_CONTROL_TASK)
    return {
        "steps": task.steps, "eval_every": task.eval_every, "freeze.at": str(task.freeze_at),
        "image.size": 100, "image.stack": 3, "image.action_repeat": task.action_repeat,
        "learning.batch_size": task.batch_size, "learning.learning_rate": task.learning_rate,
    }  # fmt: skip


def gymnasium_preset(env: str, actions: Actions) -> Settings:
    """Return the settings of Atari for discrete actions and of DeepMind Control for others: none are published."""
    suite = atari_preset if actions == "discrete" else control_preset
    return {**suite(env, actions), "image.action_repeat": ONE_PICTURE_A_STEP}
