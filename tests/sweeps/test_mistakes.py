"""Mistakes on the command line of a sweep: one line, before anything is written."""

import dataclasses
import socket
from pathlib import Path

import pytest
import torch

from seer.config import Config
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import Planned
from seer.sweeps.run import room_for
from seer.sweeps.trial import Needs, Trial
from tiny_run import config_of, files
from tiny_sweep import complaint, write_grid

Capture = pytest.CaptureFixture[str]
ALIEN = "ALE/Alien-v5"
ANY = Config("e")


def planned(trial: Trial, config: Config) -> Planned:
    return Planned(dataclasses.replace(trial, config=config), Needs(), 1, 1, 1, 1, (1, 1))


def test_a_mistake_in_any_run_is_one_line_before_any_work(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    assert "--envs" in complaint(capsys, "sweep")
    assert "--out" in complaint(capsys, "sweep", "--envs", ALIEN)
    assert "Alein" in complaint(capsys, "sweep", "--envs", ALIEN, "ALE/Alein-v5", "--out", "s", "--", "--steps=60000")
    assert "--freeze-at 50000" in complaint(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--", "--steps", "100")
    assert "--stepz" in complaint(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--", "--stepz", "100")
    assert "--jobbs" in complaint(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--jobbs", "1")
    for flag in ("--seed=5", "--env=x", "--out=y"):
        assert f"use {flag[:5]}" in complaint(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--", flag)
    assert files(tmp_path) == before


def test_a_wrong_setting_names_its_run(tmp_path: Path, capsys: Capture) -> None:
    grid = write_grid(tmp_path, seeds=2)
    text = grid.read_text()
    grid.write_text(text + "\nreplay-capacity = 5")  # of the group never
    line = complaint(capsys, "sweep", grid, "--out", tmp_path / "s")
    assert line == "seer: error: Alien-never-0: --replay-capacity 5 is less than batch size + n-step; give at least 7"
    grid.write_text(text + "\nimage-size = 8")  # only shows when the networks are built
    assert "seer: error: Alien-never-0: --encoder: 1 pixels" in complaint(capsys, "sweep", grid, "--dry-run")


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--jobs", "-2"], "--jobs -2 must be 1 or more"),
        (["--threads", "0"], "--threads 0 must be 1 or more"),
        (["--retries", "-3"], "--retries -3 must be 0 or more"),
        (["--trial-cpus", "0"], "--trial-cpus 0 must be 1 or more"),
        (["--trial-gpus", "-1"], "--trial-gpus -1.0 must be 0 or more"),
        (["--trial-gpus", "1"], "--trial-gpus 1 is asked of Ray: add --ray local, or leave it out"),
        (["--trial-memory", "lots"], "--trial-memory 'lots' is no size; write it as 70MB, 1.5GB or 64MiB"),
        (["--ray", "local", "--jobs", "2"], "--jobs 2 is for this machine alone"),
        (["--envs"], "--envs names none; give one or more, or leave it out"),
        (["--freeze-at"], "--freeze-at names none"),
        (["--seeds"], "--seeds names none"),
    ],
)
def test_a_bad_flag_of_the_pool_is_one_line_before_anything_is_written(
    flags: list[str], said: str, *, dry: bool, tmp_path: Path, capsys: Capture
) -> None:
    grid, out = write_grid(tmp_path, seeds=1), tmp_path / "sweep"
    assert f"error: {said}" in complaint(capsys, "sweep", grid, "--out", out, *flags, *(["--dry-run"] if dry else []))
    assert not out.exists()


def test_a_cluster_that_is_not_there_is_one_line_at_once(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("ray", reason="needs the extra seer-rl[ray]")
    grid, (host, port) = write_grid(tmp_path, seeds=1), free_port()
    line = complaint(capsys, "sweep", grid, "--out", tmp_path / "s", "--no-measure", "--ray", f"{host}:{port}")
    assert f"--ray {host}:{port}: no cluster there" in line
    assert "--ray local" in line


def free_port() -> tuple[str, int]:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
    return host, port


def test_a_gpu_holds_one_run_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def jobs(device: str, asked: int | None = None) -> int | None:
        config = config_of(["--env", ALIEN, "--device", device])
        trials = [planned(Trial("a", ALIEN, "a", 0, ANY), config)]
        return room_for(trials, SweepOptions(jobs=asked)).jobs

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert jobs("auto") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [jobs("auto"), jobs("cuda"), jobs("cpu"), jobs("auto", 3)] == [1, 1, None, 3]
