"""The plans of the paper's exhibits, and the settings of their runs."""

from pathlib import Path
from unittest.mock import patch

import pytest

from drawing import needs_drawing
from seer.config import Config
from seer.paper.exhibits import EXHIBITS
from tiny_run import seer

Capture = pytest.CaptureFixture[str]


def paper_config(exhibit: str, group: str, env: str) -> Config:
    (trial,) = (
        trial
        for trial in EXHIBITS[exhibit].trials(seeds=1, root=Path("r"), common={})
        if trial.variant == group and trial.env == env
    )
    return trial.config


def planned(capsys: Capture, *arguments: object) -> str:
    needs_drawing()
    capsys.readouterr()
    with patch("torch.nn.init.orthogonal_"):  # a plan needs the sizes of networks, not their weights, which take long
        assert seer("reproduce", *arguments, "--dry-run", "--no-measure") == 0, capsys.readouterr().err
    return capsys.readouterr().out
