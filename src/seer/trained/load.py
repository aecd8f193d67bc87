"""`seer.load`: a trained agent from the folder of a run, or from one that `seer card` wrote."""

import os
from pathlib import Path

from seer.config import Config
from seer.envs.randomness import SharedRandomness
from seer.errors import SettingError
from seer.runs.folder import RunFolder
from seer.trained.agent import TrainedAgent
from seer.trained.interface import Interface, interface_of
from seer.trained.shared_folder import read_shared
from seer.trained.weights import make_trained, read_trained
from seer.training.build_environment import build_environment
from seer.training.load_run import config_of


def load(path: str | os.PathLike[str], *, step: int | None = None, device: str | None = None) -> TrainedAgent:
    """Return the agent that a run has trained, finished or not.

    Nothing is written, and no random generator or thread count of the process is changed.

    Args:
        path: run folder, or a folder that `seer card` wrote.
        step: of one of the run's snapshots (`--snapshot-every`). Default: the last checkpoint's.
        device: cpu, cuda, cuda:1, or auto. Default: the run's own, or what there is here.

    Raises:
        SettingError: in one line, what is missing, damaged or doesn't fit, and the remedy.
    """
    source = Path(path)
    folder = RunFolder.open(source)
    if folder.is_shared:
        config, interface, trained = read_shared(source, folder.config)
        if step not in (None, trained.step):
            raise SettingError(f"step {step}: {path} holds step {trained.step} alone; leave it out")
    else:
        config = config_of(folder)
        interface = ask_interface(config)
        trained = read_trained(folder, step)
    return make_trained(config, interface, trained, device=device, source=source)


def ask_interface(config: Config) -> Interface:
    """Return the interface of a run's agent, for which its environment is made once."""
    with SharedRandomness().used(config.seed % 2**32):
        environment = build_environment(config, training=False)
    interface = interface_of(environment)
    environment.close()
    return interface
