"""Train the CURL that SEER's authors published on the pictures that ours sees, never frozen and frozen.

    git clone https://github.com/lili-chen/SEER /tmp/authors
    python benchmarks/authors_curl.py /tmp/authors --freeze-at 10000 --out authors.jsonl

Their agent, buffers, crops and order of steps; our cartpole-swingup, since theirs needs packages of 2020. One line is
written per evaluation: step, mean and returns of ten games, and `frozen`.
"""

import argparse
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from authors import CPU, Quiet, importing
from seer.envs.base import PixelEnvironment
from seer.envs.dm_control import DMControlEnvironment
from seer.envs.randomness import seed_shared

TASK = "dm_control/cartpole-swingup-v0"
COPIES, LATENT, FIRST_UPDATE, EVAL_EVERY, GAMES, CHUNK = 4, 50, 1000, 2500, 10, 100


def view_as_windows(array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Return what scikit-image's function of this name does."""
    return np.lib.stride_tricks.sliding_window_view(array, tuple(shape))


class Their:
    """The authors' agent and replay, and their conversion of it."""

    def __init__(self, folder: Path, *, size: int, crop: int, batch: int, steps: int, freeze_at: int) -> None:
        with importing(folder / "seer_dmc"):
            self._utils: Any = importlib.import_module("utils")
            module: Any = importlib.import_module("curl_sac")
            vars(self._utils)["view_as_windows"] = view_as_windows
            module.rad.random_crop = None
            importlib.import_module("encoder").OUT_DIM[4] = (crop - 3) // 2 + 1 - 2 * 3
            self.agent = module.RadSacAgent(
                (9, crop, crop), (1,), CPU, hidden_dim=1024, init_temperature=0.1, alpha_lr=1e-4, alpha_beta=0.5,
                critic_tau=0.01, encoder_tau=0.05, num_layers=4, num_filters=32, data_augs="crop",
                steps_until_freeze=freeze_at,
            )  # fmt: skip
        self.crop, self.freeze_at, self.is_frozen = crop, freeze_at, False
        common = {"action_shape": (1,), "capacity": steps, "batch_size": batch, "device": CPU}
        self.frames = self._utils.ReplayBuffer(obs_shape=(9, size, size), image_size=crop, **common)
        latents = {"obs_shape": (LATENT, 1), "is_latent": True, "num_copies": COPIES, **common}
        self.latents = [self._utils.ReplayBuffer(**latents) for _ in ("critic", "actor")]

    def act(self, observation: NDArray[np.uint8], *, explore: bool) -> NDArray[np.float32]:
        """Return an action for an observation [9, H, W]."""
        cropped = self._utils.center_crop_image(observation, self.crop) / 255.0
        with self._utils.eval_mode(self.agent):
            action: NDArray[np.float32] = (self.agent.sample_action if explore else self.agent.select_action)(cropped)
        return action

    def add(self, now: NDArray[np.uint8], action: Any, reward: float, following: NDArray[np.uint8]) -> None:
        """Store a step; no episode of this task ends but by its time limit."""
        if not self.is_frozen:
            self.frames.add(now, action, reward, following, 0.0)
            return
        for buffer, (first, second) in zip(self.latents, self._encode(now[None], following[None]), strict=True):
            buffer.add(first[0, ..., None], action, reward, second[0, ..., None], 0.0)

    def update(self, step: int) -> None:
        """Learn from frames, or from latents."""
        if self.is_frozen:
            self.agent.update_with_latent(*self.latents, Quiet(), step)
        else:
            self.agent.update(self.frames, Quiet(), step, detach_fc=False)

    def freeze(self) -> None:
        """Turn stored frames into latents."""
        self.is_frozen, stored = True, self.frames.idx
        self._utils.soft_update_params(self.agent.critic, self.agent.critic_target, 1)
        for buffer in self.latents:
            for name in ("actions", "rewards", "not_dones"):
                getattr(buffer, name)[:stored] = getattr(self.frames, name)[:stored]
            buffer.idx = stored
        for start in range(0, stored, CHUNK):
            rows = slice(start, min(start + CHUNK, stored))
            encoded = self._encode(self.frames.obses[rows], self.frames.next_obses[rows])
            for buffer, (first, second) in zip(self.latents, encoded, strict=True):
                buffer.obses[rows], buffer.next_obses[rows] = first[..., None], second[..., None]

    @torch.no_grad()
    def _encode(self, *stacks: NDArray[np.uint8]) -> Iterator[list[NDArray[np.float32]]]:
        """Give the critic's, then the actor's latents [B, copies, L] of the same crops of each stack [B, 9, H, W]."""
        crops = [self._crops(np.repeat(each, COPIES, 0)) for each in stacks]
        for network in (self.agent.critic, self.agent.actor):
            found = []
            for each in crops:
                network.encoder(each)
                found.append(network.encoder.outputs["fc"].numpy().reshape(-1, COPIES, LATENT))
            yield found

    def _crops(self, frames: NDArray[np.uint8]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(self._utils.random_crop(frames, self.crop))).float() / 255


def observe(environment: PixelEnvironment) -> NDArray[np.uint8]:
    """Return the stacked frames [9, H, W]."""
    stack = np.asarray(environment.observe())
    return stack.reshape(-1, *stack.shape[-2:])


def game(environment: PixelEnvironment, their: Their) -> float:
    """Return the score of one game without exploration."""
    environment.reset()
    total, over = 0.0, False
    while not over:
        _, reward, terminated, truncated, _ = environment.step(their.act(observe(environment), explore=False))
        total, over = total + float(reward), terminated or truncated
    return total


def train(options: argparse.Namespace) -> None:
    """Train to the last step, with an evaluation every 2,500."""
    torch.manual_seed(options.seed)
    seed_shared(options.seed)  # their replay draws from NumPy's global generator
    rng = np.random.default_rng(options.seed)
    their = Their(
        options.folder, size=options.image_size, crop=options.crop_size, batch=options.batch_size, steps=options.steps,
        freeze_at=options.freeze_at,
    )  # fmt: skip
    made = [DMControlEnvironment(TASK, stack=3, action_repeat=8, image_size=options.image_size) for _ in range(2)]
    for place, environment in enumerate(made):
        environment.reset(seed=options.seed + 1000 * place)
    playing, judging = made
    now = observe(playing)
    for step in range(options.steps):
        action = rng.uniform(-1, 1, 1).astype(np.float32) if step < FIRST_UPDATE else their.act(now, explore=True)
        if step == options.freeze_at:
            their.freeze()
        if step >= FIRST_UPDATE:
            their.update(step)
        _, reward, terminated, truncated, _ = playing.step(action)
        following = observe(playing)
        their.add(now, action, float(reward), following)
        if terminated or truncated:
            playing.reset()
            following = observe(playing)
        now = following
        if (step + 1) % EVAL_EVERY == 0:
            returns = [game(judging, their) for _ in range(GAMES)]
            record = {"step": step + 1, "frozen": their.is_frozen, "mean": float(np.mean(returns)), "returns": returns}
            with options.out.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(f"step {step + 1:,}: {record['mean']:.0f}", flush=True)


def main() -> None:
    """Read the flags and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a clone of the authors' repository")
    parser.add_argument("--freeze-at", type=int, default=10**9, help="step; default: never")
    for flag, default in (("steps", 20_000), ("seed", 0), ("image-size", 48), ("crop-size", 40), ("batch-size", 64)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--out", type=Path, required=True, help="file that a line is added to per evaluation")
    options = parser.parse_args()
    if not (options.folder / "seer_dmc").is_dir():
        parser.error(f"{options.folder} holds no seer_dmc: give a clone of https://github.com/lili-chen/SEER")
    if options.out.exists():
        parser.error(f"--out {options.out} exists: give another place")
    torch.set_num_threads(1)
    train(options)


if __name__ == "__main__":
    main()
