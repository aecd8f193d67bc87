"""Whether the installed LeRobot is one that this package is known to fit."""

import logging
from importlib import import_module, metadata
from importlib.util import find_spec

from seer.errors import SettingError

KNOWN = ("0.6.1",)
INSTALL = f"pip install 'lerobot[hilserl]=={KNOWN[-1]}'"

EXTENDED = {
    "lerobot.rl.buffer": ("ReplayBuffer", "random_shift"),
    "lerobot.rl.algorithms.sac": ("SACAlgorithm", "SACAlgorithmConfig"),
    "lerobot.policies.gaussian_actor.modeling_gaussian_actor": ("GaussianActorPolicy",),
}
"""Names of LeRobot that the library builds on, by module."""

REPLACED = {
    "lerobot.rl.learner": (
        "train_cli", "handle_resume_logic", "add_actor_information_and_train", "make_algorithm", "make_dataset",
        "make_pre_post_processors", "initialize_replay_buffer", "initialize_offline_replay_buffer",
        "save_training_checkpoint", "start_learner",
    ),
    "lerobot.rl.actor": (
        "actor_cli", "receive_policy", "send_transitions", "send_interactions", "learner_service_client",
    ),
}  # fmt: skip
"""Names that the two commands replace or call."""


def require_lerobot() -> None:
    """Raise ImportError, with the remedy, where LeRobot, or a part of it that is extended here, isn't installed."""
    try:
        found = metadata.version("lerobot")
    except metadata.PackageNotFoundError:
        raise ImportError(f"LeRobot is missing: {INSTALL} (Python 3.12 or later)") from None
    if find_spec("grpc") is None:
        raise ImportError(f"LeRobot {found} is installed without its extra hilserl: {INSTALL}")
    missing = _missing(EXTENDED)
    if missing:
        raise ImportError(f"LeRobot {found} has no {', '.join(missing)}: {INSTALL}")


def check_version() -> None:
    """Warn where LeRobot's version isn't a known one.

    Raises:
        SettingError: it lacks a name that is replaced here, so that learner and actor can't start.
    """
    found = metadata.version("lerobot")
    missing = _missing(REPLACED)
    if missing:
        raise SettingError(f"LeRobot {found} has no {', '.join(missing)}: {INSTALL}")
    if found not in KNOWN:
        logging.warning(
            "LeRobot %s isn't known to fit, %s is; losses may differ from LeRobot's own: %s", found, KNOWN[-1], INSTALL
        )


def _missing(names: dict[str, tuple[str, ...]]) -> list[str]:
    found = []
    for module, expected in names.items():
        try:
            held = import_module(module)
        except ImportError:
            found.append(module)
        else:
            found.extend(f"{module}.{name}" for name in expected if not hasattr(held, name))
    return found
