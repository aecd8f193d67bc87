"""A run of LeRobot's learner and actor on its simulated arm: a configuration, demonstrations, processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.datasets import LeRobotDataset
from short_arm import SIDE

from lerobot_arm import CAMERAS, JOINTS, STATS

VISUAL: dict[str, Any] = {"type": "VISUAL", "shape": [3, SIDE, SIDE]}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def write_demonstrations(folder: Path, episodes: int = 2, steps: int = 4, videos: bool = False) -> None:
    """Write a dataset as LeRobot's recorder does, of random pictures, as videos or each by itself."""
    generator = np.random.default_rng(0)
    one = {"dtype": "float32", "shape": (1,), "names": None}
    features: dict[str, Any] = {
        "action": {"dtype": "float32", "shape": (4,), "names": None}, "next.reward": one,
        "next.done": {"dtype": "bool", "shape": (1,), "names": None}, "complementary_info.discrete_penalty": one,
        "observation.state": {"dtype": "float32", "shape": (JOINTS,), "names": None},
    }  # fmt: skip
    kind, names = "video" if videos else "image", ["channels", "height", "width"]
    features |= {camera: {"dtype": kind, "shape": (3, SIDE, SIDE), "names": names} for camera in CAMERAS}
    dataset = LeRobotDataset.create("seer/demonstrations", 10, root=folder, features=features, use_videos=videos)
    for _ in range(episodes):
        for step in range(steps):
            frame = {camera: generator.integers(256, size=(3, SIDE, SIDE), dtype=np.uint8) for camera in CAMERAS}
            frame |= {
                "observation.state": generator.uniform(-1, 1, JOINTS).astype(np.float32),
                "action": np.append(generator.uniform(-1, 1, 3), 1).astype(np.float32),
                "next.reward": np.array([step + 1 == steps], np.float32),
                "next.done": np.array([step + 1 == steps]),
                "complementary_info.discrete_penalty": np.zeros(1, np.float32), "task": "lift the cube",
            }  # fmt: skip
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()


def write_config(folder: Path, demonstrations: Path, port: int, **policy: Any) -> Path:
    """Write a configuration of LeRobot's learner and actor, with a checkpoint every four updates."""
    features = dict.fromkeys(CAMERAS, VISUAL) | {"observation.state": {"type": "STATE", "shape": [JOINTS]}}
    actions = {"action": {"type": "ACTION", "shape": [3]}}
    config = {
        "dataset": {"repo_id": "seer/demonstrations", "root": str(demonstrations), "use_imagenet_stats": False},
        "batch_size": 8, "save_freq": 4, "log_freq": 1, "seed": 1, "num_workers": 0, "wandb": {"enable": False},
        "output_dir": str(folder / "learner"), "job_name": "arm",
        "policy": {
            "type": "gaussian_actor", "device": "cpu", "push_to_hub": False, "num_discrete_actions": 3,
            "dataset_stats": STATS, "input_features": features, "output_features": actions, "latent_dim": 16,
            "image_encoder_hidden_dim": 8, "online_step_before_learning": 4, "online_buffer_capacity": 500,
            "offline_buffer_capacity": 500,
            "actor_learner_config": {"learner_port": port, "policy_parameters_push_frequency": 1},
            **policy,
        },
        "env": {
            "type": "gym_manipulator", "name": "gym_hil", "task": "ShortPickCube-v0", "fps": 10,
            "features": features | actions, "features_map": {key: key for key in features | actions},
            "processor": {"gripper": {"use_gripper": True, "gripper_penalty": 0.0}},
        },
    }  # fmt: skip
    file = folder / "train_config.json"
    file.write_text(json.dumps(config, indent=2))
    return file


def start(folder: Path, name: str, module: str, *flags: str) -> subprocess.Popen[bytes]:
    """Start one of the two processes; what it prints goes to `name`.log in `folder`."""
    variables = os.environ | {"MUJOCO_GL": "egl", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    variables["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with (folder / f"{name}.log").open("ab") as log:
        command = [sys.executable, "-m", module, *flags, "--env.discover_packages_path=short_arm"]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=variables, process_group=0)


def log_of(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text()


def end(*processes: subprocess.Popen[bytes]) -> None:
    """Stop processes as a user does."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def kill_all(*processes: subprocess.Popen[bytes]) -> None:
    """Kill processes and those that they started, where any is left."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(what: str, holds: Callable[[], bool], *processes: subprocess.Popen[bytes], seconds: float = 900) -> None:
    """Wait until something holds; fail as soon as one of `processes` has ended, or when it takes too long."""
    until = time.monotonic() + seconds
    while not holds():
        for each in processes:
            assert each.poll() is None, f"{each.args} ended with {each.returncode} before {what}"
        assert time.monotonic() < until, f"no {what} within {seconds:.0f} s"
        time.sleep(0.5)


def step_of(run: Path) -> int:
    """Return the updates of a run's newest checkpoint; 0 without one."""
    file = run / "checkpoints" / "last" / "training_state" / "training_step.json"
    return int(json.loads(file.read_text())["step"]) if file.exists() else 0


torch.set_num_threads(1)
