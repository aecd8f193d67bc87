r"""Stable-Baselines3's own DQN, QR-DQN, SAC or TD3, with and without SEER: same settings, learning curves side by side.

    pip install '.[sb3]'
    python examples/stable_baselines3_seer.py                        # DQN on Pong, 100,000 steps, frozen at 50,000
    pip install '.[dm-control]'
    python examples/stable_baselines3_seer.py --algorithm SAC --env dm_control/cartpole-swingup-v0 \
        --steps 12000 --freeze-at 6000 --buffer 12000 --learning-starts 1000 --batch-size 64 --out runs/sb3-sac
    python examples/stable_baselines3_seer.py --steps 600 --freeze-at 300 --buffer 600 --learning-starts 100 \
        --out runs/sb3-try

Each variant trains in a process of its own. OUT gets one curve per variant (CSV), their picture, and a table: score,
replay bytes and rows, resident memory, updates per second before and after the freeze. Without SEER the buffer of the
first takes 5.6 GB, that of the second 1.5 GB.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from seer.integrations.stable_baselines3 import SeerCallback, SeerReplayBuffer  # 1

LABELS = {"plain": "without", "seer": "with SEER"}


def train(options: argparse.Namespace) -> None:
    """Train one variant, from the first step to its row of the table."""
    torch.set_num_threads(options.threads)
    settings: dict[str, Any] = {
        "buffer_size": options.buffer, "learning_starts": options.learning_starts, "seed": options.seed,
    }  # fmt: skip
    if options.batch_size:
        settings["batch_size"] = options.batch_size
    if options.algorithm in ("DQN", "QRDQN"):
        settings |= {"train_freq": 4, "target_update_interval": 2000, "exploration_fraction": 0.2}
    recorder = Recorder(options.freeze_at)
    callbacks: list[BaseCallback] = [recorder]
    if options.variant == "seer":
        settings["replay_buffer_class"] = SeerReplayBuffer  # 2
        callbacks.append(SeerCallback(freeze_at=options.freeze_at, freeze_layers=options.freeze_layers))  # 3
    print(f"{options.variant}: {options.algorithm} on {options.env}, {options.steps:,} steps", flush=True)
    model = algorithm(options.algorithm)("CnnPolicy", environment(options), **settings)
    model.learn(options.steps, callback=callbacks)
    with (options.out / f"{options.variant}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("step", "score"), *recorder.scores])
    (options.out / f"{options.variant}.json").write_text(json.dumps(recorder.summary()))


class Recorder(BaseCallback):
    """Records the score of every game, and the time that updates take; playing between them doesn't count."""

    def __init__(self, freeze_at: int) -> None:
        super().__init__()
        self.freeze_at = freeze_at
        self.scores: list[tuple[int, float]] = []
        self.seconds, self.updates = [0.0, 0.0], [0, 0]  # until the step of the freeze, and from it on
        self._left, self._seen, self._said = 0.0, 0, 0.0

    def _on_rollout_start(self) -> None:
        half, updates = int(self.num_timesteps >= self.freeze_at), self.model._n_updates
        if self._left and updates > self._seen:
            self.seconds[half] += time.perf_counter() - self._left
            self.updates[half] += updates - self._seen
        self._seen = updates

    def _on_rollout_end(self) -> None:
        self._left = time.perf_counter()

    def _on_step(self) -> bool:
        games = [info["episode"] for info in self.locals["infos"] if "episode" in info]
        self.scores += [(self.num_timesteps, float(game["r"])) for game in games]
        if time.perf_counter() - self._said > 20:
            self._said = time.perf_counter()
            print(f"  step {self.num_timesteps:,}, mean score of the last games {text(self.score(10))}", flush=True)
        return True

    def score(self, count: int) -> float | None:
        """Return the mean of the last `count` games."""
        last = [score for _, score in self.scores[-count:]]
        return sum(last) / len(last) if last else None

    def summary(self) -> dict[str, float | None]:
        """Return this variant's column of the table."""
        buffer = self.model.replay_buffer
        arrays = [] if isinstance(buffer, SeerReplayBuffer) else [buffer.observations, buffer.next_observations]
        before, after = (n / s if s else None for n, s in zip(self.updates, self.seconds, strict=True))
        return {
            "score": self.score(20),
            "replay_bytes": sum(array.nbytes for array in arrays) or buffer.num_bytes,
            "rows": buffer.buffer_size * buffer.n_envs,
            "resident_bytes": psutil.Process().memory_info().rss,
            "updates_per_second_before": before,
            "updates_per_second_after": after,
        }


def algorithm(name: str) -> Any:
    """Return the class; QR-DQN is in sb3-contrib."""
    if name == "QRDQN":
        from sb3_contrib import QRDQN

        return QRDQN
    return {"DQN": DQN, "SAC": SAC, "TD3": TD3}[name]


def environment(options: argparse.Namespace) -> VecEnv:
    """Make Atari as Stable-Baselines3's users prepare it, or DeepMind Control as 84x84 pictures; four and three frames.

    `make_atari_env` skips frames and repeats actions itself, so the game must not: its *NoFrameskip-v4 doesn't.
    """
    if options.env.startswith("dm_control/"):
        return VecFrameStack(make_vec_env(lambda: control(options), n_envs=1, seed=options.seed), 3)
    import ale_py

    gymnasium.register_envs(ale_py)
    return VecFrameStack(make_atari_env(options.env, n_envs=1, seed=options.seed), 4)


def control(options: argparse.Namespace) -> gymnasium.Env[Any, Any]:
    """Make one of seer's own tasks, whose observations are [1, 3, 84, 84], with observations [3, 84, 84]."""
    from seer.envs.dm_control import DMControlEnvironment

    task = DMControlEnvironment(options.env, action_repeat=options.action_repeat, stack=1, image_size=84)
    space = gymnasium.spaces.Box(0, 255, (3, 84, 84), "uint8")
    return gymnasium.wrappers.TransformObservation(task, lambda stack: stack[0], space)


def compare(options: argparse.Namespace) -> None:
    """Train both variants one after the other, then draw their curves and print their table."""
    for variant in LABELS:
        if subprocess.run([sys.executable, __file__, *sys.argv[1:], "--variant", variant], check=False).returncode:
            sys.exit(f"{variant} failed: see above")
    draw(options)
    columns = [json.loads((options.out / f"{variant}.json").read_text()) for variant in LABELS]
    print("\n" + " " * 28 + "".join(f"{label:>16}" for label in LABELS.values()))
    for name in columns[0]:
        print(f"{name.replace('_', ' '):28}" + "".join(f"{text(column[name]):>16}" for column in columns))
    print(f"\nCurves and table: {options.out}")


def text(value: float | None) -> str:
    """Return a number for people."""
    return "-" if value is None else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def draw(options: argparse.Namespace) -> None:
    """Draw scores over steps, mean of the last 20 games."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    picture, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (variant, label), style in zip(LABELS.items(), (".-", ".--"), strict=True):
        with (options.out / f"{variant}.csv").open(newline="") as file:
            curve = np.array(list(csv.reader(file))[1:], dtype=float).reshape(-1, 2)
        means = [curve[max(0, end - 20) : end, 1].mean() for end in range(1, len(curve) + 1)]
        if not means:
            print(f"{label}: no game ended within {options.steps:,} steps, so there is no score")
        axes.plot(curve[:, 0], means, style, markersize=3, label=label)
    axes.axvline(options.freeze_at, color="grey", linestyle=":", label="freeze")
    axes.set(xlabel="steps", ylabel="score, mean of up to 20 games", xlim=(0, options.steps))
    axes.set_title(f"{options.algorithm} on {options.env}")
    axes.legend()
    picture.savefig(options.out / "curves.png", dpi=120)


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", choices=("DQN", "QRDQN", "SAC", "TD3"), default="DQN")
    parser.add_argument("--env", default="PongNoFrameskip-v4", help="...NoFrameskip-v4 or dm_control/...")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--freeze-at", type=int, default=50_000)
    parser.add_argument("--freeze-layers", choices=("auto", "all", "convolutions"), default="auto")
    parser.add_argument("--buffer", type=int, default=100_000, help="transitions before the freeze")
    parser.add_argument("--learning-starts", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, help="left out: Stable-Baselines3's own, 32 for DQN, 256 for SAC")
    parser.add_argument("--action-repeat", type=int, default=8, help="control steps per step (DeepMind Control)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, default=Path("runs/sb3"))
    parser.add_argument("--variant", choices=tuple(LABELS), help="train this one only, without the comparison")
    options = parser.parse_args()
    control_task, continuous = options.env.startswith("dm_control/"), options.algorithm in ("SAC", "TD3")
    if not control_task and not options.env.endswith("NoFrameskip-v4"):
        parser.error(f"--env {options.env}: name a game as PongNoFrameskip-v4, or a task as dm_control/...")
    if control_task != continuous:
        parser.error(f"--algorithm {options.algorithm} can't act in {options.env}: SAC, TD3 are for dm_control/...")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.variant:
        train(options)
    elif any(options.out.glob("*.json")):
        parser.error(f"--out {options.out} has results already: name another folder")
    else:
        compare(options)


if __name__ == "__main__":
    main()
