"""The paper's settings of each game and task (SEER, appendix), as changes to the defaults in `config.py`."""

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

COMMON_CONTROL_TASK: Settings = {
    "steps": 125_000, "eval_every": 10_000, "freeze.at": "50000",
    "image.size": 100, "image.stack": 3, "image.action_repeat": 4,
    "learning.batch_size": 128, "learning.learning_rate": 1e-3,
}  # fmt: skip
"""For tasks outside the paper's table: 500,000 environment steps at action repeat 4, its most common T_f."""

WALKER: Settings = {"image.action_repeat": 2, "steps": 250_000, "freeze.at": "60000"}

CONTROL_TASKS: dict[str, Settings] = {
    "cartpole-swingup": {"image.action_repeat": 8, "steps": 80_000, "freeze.at": "10000", "eval_every": 2_500},
    "finger-spin": {"image.action_repeat": 2, "steps": 250_000},
    "reacher-easy": {},
    "cheetah-run": {"freeze.at": "80000", "learning.batch_size": 512, "learning.learning_rate": 2e-4},
    "walker-walk": WALKER,
    "walker-stand": WALKER,
}
"""Differences by task, in training steps (SEER, appendix, DMControl settings); walker-stand, which the paper only
pretrains on, as walker-walk."""

ONE_PICTURE_A_STEP: Settings = {"image.action_repeat": 1}
"""In environments of Gymnasium, many of which repeat actions themselves."""


def atari_preset(env: str, actions: Actions) -> Settings:  # noqa: ARG001 (all games are discrete)
    """Return the paper's settings of a game."""
    game = env.removeprefix("ALE/").split("-")[0]
    return {"freeze.at": str(ATARI_FREEZE.get(game, COMMON_ATARI_FREEZE))}


def control_preset(env: str, actions: Actions) -> Settings:  # noqa: ARG001 (all tasks are continuous)
    """Return the paper's settings of a task."""
    return {**COMMON_CONTROL_TASK, **CONTROL_TASKS.get(env.removeprefix("dm_control/").removesuffix("-v0"), {})}


def gymnasium_preset(env: str, actions: Actions) -> Settings:
    """Return the settings of Atari for discrete actions and of DeepMind Control for others: none are published."""
    return {**(atari_preset if actions == "discrete" else control_preset)(env, actions), **ONE_PICTURE_A_STEP}
