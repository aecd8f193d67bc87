"""LeRobot's learner and actor as commands, over its own gRPC, on its simulated arm; learners are killed.

A person's stand-in takes over for two of the four steps of each episode (short_arm).
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lerobot", reason="LeRobot isn't installed here: make lerobot")

import torch
from arm_run import end, free_port, kill_all, log_of, start, step_of, wait_for, write_config, write_demonstrations
from lerobot.datasets import LeRobotDataset
from short_arm import HELP

from seer.integrations.lerobot.state import read_state

LEARNER, ACTOR = "seer.integrations.lerobot.learner", "seer.integrations.lerobot.actor"
DATASETS = ("dataset", "dataset_offline")
SERVES = "gRPC server started"

Launch = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start a process by its name, module and flags; whatever is left of it is killed after the test."""
    processes = []

    def launch(name: str, module: str, *flags: str) -> subprocess.Popen[bytes]:
        processes.append(start(tmp_path, name, module, *flags))
        return processes[-1]

    yield launch
    kill_all(*processes)


def state_of(run: Path, name: str) -> dict[str, Any]:
    return read_state(run / "seer_features" / f"{name}.safetensors")


def stored(run: Path, name: str) -> int:
    """Return the steps in a checkpoint's file of features."""
    return int(state_of(run, name)["size"]) if (run / "seer_features" / f"{name}.safetensors").exists() else 0


def check_interventions(run: Path, demonstrations: int) -> None:
    """After the demonstrations, the offline buffer has the steps that are marked in the online one, and no other."""
    online, offline = state_of(run, "online"), state_of(run, "offline")
    marked = online["info"]["is_intervention"].nonzero()[:, 0]
    found = offline["size"] - demonstrations
    assert found > 0
    marked = marked[:found]  # a learner that is killed may have written one of the files alone
    for key, rows in offline["states"].items():
        assert torch.equal(rows[demonstrations:], online["states"][key][marked])
    assert torch.equal(offline["columns"]["actions"][demonstrations:], torch.from_numpy(HELP).expand(found, -1))
    assert len(marked) == found


def test_a_run_survives_its_learner(tmp_path: Path, launch: Launch) -> None:
    run = tmp_path / "learner"
    write_demonstrations(tmp_path / "demonstrations", videos=True)
    config = write_config(tmp_path, tmp_path / "demonstrations", free_port())
    learner = launch("learner", LEARNER, f"--config_path={config}", "--seer.dtype=int8", "--seer.keep_episodes=2")
    wait_for("a server", lambda: SERVES in log_of(tmp_path, "learner"), learner)
    actor = launch("actor", ACTOR, f"--config_path={config}", f"--output_dir={tmp_path / 'actor'}")
    wait_for("a checkpoint with steps of the arm", lambda: stored(run, "online") >= 4, learner, actor)
    wait_for("a checkpoint of both buffers", lambda: stored(run, "offline") >= 8, learner, actor)  # demonstrations
    learner.kill()
    learner.wait()
    step, online, offline = step_of(run), stored(run, "online"), stored(run, "offline")
    state = state_of(run, "online")
    assert (state["dtype"], state["views"]) == ("int8", 2)
    saved = run / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    learner = launch("resumed", LEARNER, f"--config_path={saved}", "--resume=true")
    wait_for("more steps of the same actor", lambda: stored(run, "online") >= online + 4, learner, actor)
    wait_for("more updates", lambda: step_of(run) > step, learner, actor)
    said = log_of(tmp_path, "resumed")
    assert "instantiating a policy from scratch" not in said  # which LeRobot does when it resumes
    assert f"Resuming from step {step}" in said
    assert f"online: {online} steps of at most" in said
    assert f"offline: {offline} steps of at most" in said
    assert "'dtype': 'int8', 'views': 2" in said
    assert "A learner is there again" in log_of(tmp_path, "actor")
    end(actor, learner)
    assert stored(run, "online") >= online + 4
    assert "Load new parameters from Learner" in log_of(tmp_path, "actor")
    kept = LeRobotDataset("seer/demonstrations", root=run / "dataset")
    assert 4 <= len(kept) <= 8


def test_lerobots_own_run_goes_on_with_features(tmp_path: Path, launch: Launch) -> None:
    """LeRobot's learner, ours in its place, killed, and ours again, with servers and streams in processes of their own.

    One actor outlives them all.
    """
    run, demonstrations = tmp_path / "learner", tmp_path / "demonstrations"
    write_demonstrations(demonstrations)
    config = write_config(
        tmp_path, demonstrations, free_port(), concurrency={"actor": "processes", "learner": "processes"}
    )
    saved = run / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    learner = launch("lerobots", "lerobot.rl.learner", f"--config_path={config}")
    wait_for("a server", lambda: SERVES in log_of(tmp_path, "lerobots"), learner)
    actor = launch("actor", ACTOR, f"--config_path={config}", f"--output_dir={tmp_path / 'actor'}")
    wait_for("LeRobot's checkpoint", lambda: "Resume training" in log_of(tmp_path, "lerobots"), learner, actor)
    end(learner)
    online, offline = (LeRobotDataset("seer/demonstrations", root=run / name) for name in DATASETS)
    step = step_of(run)
    resume = (LEARNER, f"--config_path={saved}", "--resume=true", "--seer.views=0")
    learner = launch("ours", *resume)
    wait_for("more steps", lambda: stored(run, "online") >= len(online) + 4, learner, actor)
    wait_for("more interventions", lambda: stored(run, "offline") > len(offline), learner, actor)
    assert f"Resuming from step {step}" in log_of(tmp_path, "ours")
    assert f"online: {len(online)} steps of at most" in log_of(tmp_path, "ours")
    assert f"offline: {len(offline)} steps of at most" in log_of(tmp_path, "ours")
    for name in DATASETS:
        assert not (run / name).exists()
        assert (run / f"{name}_before_features" / "meta" / "info.json").exists()
    learner.kill()
    learner.wait()
    check_interventions(run, 8)
    last = stored(run, "online")
    learner = launch("again", *resume)  # its port is free: the server ended with the one that was killed
    wait_for("steps for the next learner", lambda: stored(run, "online") >= last + 4, learner, actor)
    assert f"online: {last} steps of at most" in log_of(tmp_path, "again")
    end(actor, learner)


def test_an_encoder_that_learns_is_refused_in_one_line(tmp_path: Path, launch: Launch) -> None:
    write_demonstrations(tmp_path / "demonstrations")
    config = write_config(tmp_path, tmp_path / "demonstrations", free_port(), freeze_vision_encoder=False)
    learner = launch("learner", LEARNER, f"--config_path={config}")
    assert learner.wait(300) == 1
    assert log_of(tmp_path, "learner").splitlines()[-1].startswith("error: policy.freeze_vision_encoder is false")
    assert not (tmp_path / "learner" / "checkpoints").exists()
