"""LeRobot's learner and actor in two processes, over its own gRPC, on its simulated arm; the learner is killed once."""

import signal
from pathlib import Path

import pytest

pytest.importorskip("lerobot", reason="LeRobot isn't installed here: make lerobot")

from arm_run import free_port, start, step_of, wait_for, write_config, write_demonstrations
from lerobot.datasets import LeRobotDataset

from seer.integrations.lerobot.state import read_state

LEARNER, ACTOR = "seer.integrations.lerobot.learner", "seer.integrations.lerobot.actor"


def stored(run: Path, name: str) -> int:
    """Return the steps in a checkpoint's file of features."""
    file = run / "seer_features" / f"{name}.safetensors"
    return int(read_state(file)["size"]) if file.exists() else 0


def test_a_run_survives_its_learner(tmp_path: Path) -> None:
    run = tmp_path / "learner"
    write_demonstrations(tmp_path / "demonstrations")
    config = write_config(tmp_path, tmp_path / "demonstrations", free_port())
    learner = start(
        tmp_path, "learner", LEARNER, f"--config_path={config}", "--seer.dtype=int8", "--seer.keep_episodes=2"
    )
    actor = start(tmp_path, "actor", ACTOR, f"--config_path={config}", f"--output_dir={tmp_path / 'actor'}")
    try:
        wait_for("a checkpoint with steps of the arm", lambda: stored(run, "online") >= 4, learner, actor)
        wait_for("a checkpoint of both buffers", lambda: stored(run, "offline") == 8, learner, actor)  # demonstrations
        learner.send_signal(signal.SIGKILL)
        learner.wait()
        step, online, state = (
            step_of(run),
            stored(run, "online"),
            read_state(run / "seer_features" / "online.safetensors"),
        )
        assert (state["dtype"], state["views"]) == ("int8", 2)
        saved = run / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
        learner = start(tmp_path, "resumed", LEARNER, f"--config_path={saved}", "--resume=true")
        wait_for("more steps of the same actor", lambda: stored(run, "online") >= online + 4, learner, actor)
        wait_for("more updates", lambda: step_of(run) > step, learner, actor)
        said = (tmp_path / "resumed.log").read_text()
        assert "instantiating a policy from scratch" not in said  # which LeRobot does when it resumes
        assert f"Resuming from step {step}" in said
        assert f"online: {online} steps of at most" in said
        assert "offline: 8 steps of at most" in said
        assert "'dtype': 'int8', 'views': 2" in said
        assert "A learner is there again" in (tmp_path / "actor.log").read_text()
        for process in (actor, learner):
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
        state = read_state(run / "seer_features" / "online.safetensors")
        assert state["size"] >= online + 4
        assert "Load new parameters from Learner" in (tmp_path / "actor.log").read_text()
    finally:
        for process in (actor, learner):
            process.kill()
    kept = LeRobotDataset("seer/demonstrations", root=run / "dataset")
    assert 4 <= len(kept) <= 8
