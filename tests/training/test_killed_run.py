"""A run killed and resumed ends as one that never stopped; make test has such a run in test_kill_points.py."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import read_metrics
from tiny_run import FIRST_UPDATE, FLAGS, STEPS, machine_free, seer, seer_process


@pytest.fixture(scope="module")
def hunted_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run of `finished_run` again, in four processes, stopped three times; and its agent at the second.

    SIGKILL before the freeze, SIGTERM after it, SIGKILL once more.
    """
    folder = tmp_path_factory.mktemp("hunted") / "run"
    killed = seer_process("train", *FLAGS, "--out", folder, step=590, signal=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read_metrics(folder)[-1]["step"] == 550  # a record that will be taken back
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000500"

    stopped = seer_process("resume", folder, step=720, signal=signal.SIGTERM)
    assert stopped.returncode == 130, stopped.stderr
    assert f"seer resume {folder}" in " ".join(stopped.stdout.split())
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000720"
    agent = load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]
    then = {name: {key: part.clone() for key, part in agent["modules"][name].items()} for name in ("online", "target")}

    killed = seer_process("resume", folder, "--env-timeout", 200, step=900, signal=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000750"
    assert not (folder / "summary.json").exists()

    assert seer("resume", folder) == 0
    assert json.loads((folder / "config.json").read_text())["env_timeout"] == 200
    return folder, then


@pytest.mark.slow
def test_a_killed_run_ends_as_if_nothing_had_happened(
    finished_run: Path, hunted_run: tuple[Path, dict[str, Any]]
) -> None:
    """Record for record, but for figures with `second` or `rss` in their name, and no other figure depends on luck."""
    ours, theirs = read_metrics(finished_run), read_metrics(hunted_run[0])
    assert [machine_free(record) for record in theirs] == [machine_free(record) for record in ours]
    summaries = [json.loads((run / "summary.json").read_text()) for run in (finished_run, hunted_run[0])]
    assert machine_free(summaries[0]) == machine_free(summaries[1])


@pytest.mark.slow
def test_wall_time_goes_on_where_it_was(hunted_run: tuple[Path, dict[str, Any]]) -> None:
    values = [record["wall_seconds"] for record in read_metrics(hunted_run[0])]
    assert values == sorted(values)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_agent(finished_run: Path, hunted_run: tuple[Path, dict[str, Any]]) -> None:
    ours, theirs = (
        load_checkpoint(latest_checkpoint(run / "checkpoints"))["agent"] for run in (finished_run, hunted_run[0])
    )
    for network in ("online", "target"):
        left, right = ours["modules"][network], theirs["modules"][network]
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert torch.equal(ours["generators"]["noise"], theirs["generators"]["noise"])
    assert ours["updates"] == theirs["updates"] == STEPS - FIRST_UPDATE + 1


@pytest.mark.slow
def test_frozen_layers_end_as_they_were_at_the_freeze(hunted_run: tuple[Path, dict[str, Any]]) -> None:
    folder, then = hunted_run
    now = load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]["modules"]
    encoder = [name for name in then["online"] if name.startswith("encoder.")]
    assert encoder
    for name in encoder:
        assert torch.equal(now["online"][name], then["online"][name])
        assert torch.equal(now["target"][name], then["online"][name])
    heads = [name for name in then["online"] if name not in encoder]
    assert not any(torch.equal(now["online"][name], then["online"][name]) for name in heads)
