"""Load settings and agent of a run folder, checked before use."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seer.agents.agent import Agent
from seer.config import Config, config_from_json
from seer.envs.base import PixelEnvironment
from seer.envs.randomness import seed_shared
from seer.errors import SettingError
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import CHANGEABLE, RunFolder, flatten
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.computing import pick_device, use_threads
from seer.training.replan import PROLONGED, is_prolonged
from seer.validation import validate

ABSENT = object()


def load_player(
    folder: RunFolder, config: Config | None = None, checkpoint: Path | None = None
) -> tuple[Agent[Any], PixelEnvironment]:
    """Return a run's agent and its environment for evaluation.

    Args:
        config: the run's own unless it is given.
        checkpoint: the last one unless it is given. Give it to name it later: a run may go on and write others.
    """
    config = config or config_of(folder)
    use_threads(config)
    seed_shared(config.seed % 2**32)
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, device_to_play_on(config))
    checkpoint = checkpoint or latest_checkpoint(folder.checkpoints)
    state = load_checkpoint(checkpoint)
    with fitting(checkpoint):
        refuse_other_settings(checkpoint, state["settings"], folder.config)
        agent.load_state_dict(state["agent"], to_learn=False)
    agent.online.eval()
    return agent, environment


def device_to_play_on(config: Config) -> torch.device:
    """Return the run's device, or the best that this machine has in its place."""
    try:
        return pick_device(config.device)
    except SettingError:
        return pick_device("auto")


def refuse_other_settings(
    checkpoint: Path, trained: dict[str, Any], config: dict[str, Any], *, but: frozenset[str] = frozenset()
) -> None:
    """Refuse a checkpoint of other settings, `but` these: it is another run's, or `config.json` was changed."""
    theirs, ours = dict(flatten(trained)), dict(flatten(config))
    free = CHANGEABLE | but | (PROLONGED if is_prolonged(theirs, ours) else frozenset())
    names = [n for n in {**theirs, **ours} if n not in free and theirs.get(n, ABSENT) != ours.get(n, ABSENT)]
    if names:
        found = "; ".join(f"{name}: {theirs.get(name)} there, {ours.get(name)} in config.json" for name in names[:3])
        raise SettingError(f"checkpoint {checkpoint} is of other settings ({found}): restore the one or the other")


@contextmanager
def fitting(checkpoint: Path) -> Iterator[None]:
    """Turn an error inside `with` into one line: the checkpoint is whole, but of another run than `config.json`."""
    try:
        yield
    except SettingError:
        raise
    except Exception as error:  # of loading a state that is whole but of another run
        raise SettingError(
            f"checkpoint {checkpoint} is foreign: it doesn't fit config.json ({' '.join(str(error).split())}); "
            "restore the one or the other, or start a new run"
        ) from error


def config_of(folder: RunFolder) -> Config:
    """Return the settings of a run; SettingError where this version can't work with them."""
    if folder.is_shared:
        raise SettingError(f"{folder.path} is an agent that seer card wrote, no run: read it by seer.load")
    return validate(config_from_json(folder.config), new=False)
