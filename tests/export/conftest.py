"""The run that these tests export once."""

from pathlib import Path

import numpy as np
import pytest

from exported_run import load_run
from made_once import made_once
from seer.training.build_environment import build_environment
from seer.training.observations import play
from tiny_run import seer


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def export(folder: Path) -> bool:
        return seer("export", finished_run, "--onnx", "--out", folder, "--observations", 64) == 0

    return made_once(tmp_path_factory, "exported", export)


@pytest.fixture(scope="session")
def observations(finished_run: Path) -> np.ndarray:
    """Of another game than the one that the command checks its files on."""
    agent, config, _ = load_run(finished_run)
    return play(agent, build_environment(config, training=True), count=12, every=7, skip=90)
