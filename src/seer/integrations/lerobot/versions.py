"""Whether the installed LeRobot is one that this package is known to fit."""

import logging
from importlib import import_module, metadata

from seer.errors import SettingError

KNOWN = ("0.6.1",)
INSTALL = f"pip install 'lerobot[hilserl]=={KNOWN[-1]}'"

USED = {
    "lerobot.rl.buffer": ("ReplayBuffer", "random_shift"),
    "lerobot.rl.algorithms.sac": ("SACAlgorithm",),
    "lerobot.rl.learner": (
        "train_cli", "handle_resume_logic", "add_actor_information_and_train", "make_algorithm", "make_dataset",
        "make_pre_post_processors", "initialize_replay_buffer", "initialize_offline_replay_buffer",
        "save_training_checkpoint",
    ),
    "lerobot.rl.actor": (
        "actor_cli", "receive_policy", "send_transitions", "send_interactions", "learner_service_client",
    ),
}  # fmt: skip
"""Names of LeRobot that are replaced or extended, by module."""


def require_lerobot() -> None:
    """Raise ImportError, with the remedy, where LeRobot isn't installed."""
    try:
        metadata.version("lerobot")
    except metadata.PackageNotFoundError:
        raise ImportError(f"LeRobot is missing: {INSTALL} (Python 3.12 or later)") from None


def check_version() -> None:
    """Warn where LeRobot's version isn't a known one.

    Raises:
        SettingError: it lacks a name that is replaced or extended here, so that the learner can't start.
    """
    found = metadata.version("lerobot")
    missing = [
        f"{module}.{name}" for module, names in USED.items() for name in names
        if not hasattr(import_module(module), name)
    ]  # fmt: skip
    if missing:
        raise SettingError(f"LeRobot {found} has no {', '.join(missing)}: {INSTALL}")
    if found not in KNOWN:
        logging.warning(
            "LeRobot %s isn't known to fit, %s is; losses may differ from LeRobot's own: %s", found, KNOWN[-1], INSTALL
        )
