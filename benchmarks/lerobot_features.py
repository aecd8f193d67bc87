"""LeRobot's learner with pictures and with stored features: losses, updates, memory, checkpoints, shifted views.

    .venv-lerobot/bin/python benchmarks/lerobot_features.py        # --quick: a minute, to see that it runs

Both train the same weights on the same steps and batches, in one process, in turn. The encoder is a ResNet-10 of
LeRobot's size with random weights, the pictures are random; the shifts alone are measured on pictures of gym_hil's arm.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from lerobot.rl import ReplayBuffer, RLTrainer
from lerobot.rl.algorithms.sac import SACAlgorithm
from lerobot.rl.buffer import random_shift
from lerobot.rl.data_sources import OnlineOfflineMixer

from lerobot_arm import CAMERAS, algorithm_of, policy_of, preprocessor_of, transitions, write_resnet
from seer.integrations.lerobot import FeatureReplayBuffer, FrozenFeatures, StoredFeaturesSAC
from seer.integrations.lerobot.state import write_state

SIDE = 128
CHANNELS = (64, 128, 256, 512)
NARROW = (8, 8, 8, 512)  # maps of the same size, for memory, sooner
SEEDS = 2
STEPS = 40  # in the buffers whose updates are timed
RESIDENT_STEPS, QUICK_RESIDENT_STEPS = 3000, 60


class Setup:
    """One learner: a policy, its algorithm, a buffer and LeRobot's trainer, with pictures or with features."""

    def __init__(
        self, kind: str, encoder: str, steps: int, batch: int, *, dtype: str = "float16", views: int = 0,
        side: int = SIDE, given: list[dict[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self.policy = policy_of(side=side, vision_encoder_name=encoder, latent_dim=256)
        self.preprocessor = preprocessor_of(self.policy)
        self.algorithm = algorithm_of(SACAlgorithm if kind == "pictures" else StoredFeaturesSAC, self.policy)
        if kind == "pictures":
            self.buffer: Any = ReplayBuffer(
                steps, "cpu", use_drq=views > 0, image_augmentation_function=random_shift, optimize_memory=not given
            )
        else:
            features = FrozenFeatures(self.policy, self.preprocessor, dtype=dtype, views=views)
            self.buffer = FeatureReplayBuffer(steps, "cpu", features=features)
        before = time.perf_counter()
        for transition in given if given is not None else transitions(steps, side=side, episode=50):
            self.buffer.add(**transition)
        self.seconds_to_add = time.perf_counter() - before
        mixer = OnlineOfflineMixer(self.buffer, None)
        # One thread draws, so that both draw the same: LeRobot's prefetching thread competes for random numbers.
        mixer.get_iterator = lambda batch_size, **_: iter(lambda: mixer.sample(batch_size), None)
        self.trainer = RLTrainer(self.algorithm, mixer, batch, preprocessor=self.preprocessor)

    def update(self) -> dict[str, float]:
        """Run one training step of LeRobot's trainer."""
        losses: dict[str, float] = self.trainer.training_step().to_log_dict()
        return losses


def main() -> None:
    """Print every comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: that it runs, not what it costs")
    parser.add_argument("--fill", help=argparse.SUPPRESS)  # in a process of its own: pictures or features
    parser.add_argument("--only", choices=("losses", "updates", "memory", "checkpoint", "views"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.fill:
            encoder = write_resnet(Path(folder) / "narrow", NARROW)
            print_resident(chosen.fill, encoder, QUICK_RESIDENT_STEPS if chosen.quick else RESIDENT_STEPS)
            return
        encoder = write_resnet(Path(folder) / "resnet10", (8, 8, 8, 8) if chosen.quick else CHANNELS)
        parts: dict[str, Callable[[], None]] = {
            "losses": lambda: compare_losses(encoder, 2 if chosen.quick else 12),
            "updates": lambda: compare_updates(encoder, 2 if chosen.quick else 5),
            "memory": lambda: compare_memory(chosen.quick),
            "checkpoint": lambda: compare_checkpoints(encoder, 20 if chosen.quick else 60),
            "views": lambda: compare_views(Path(folder), 6 if chosen.quick else 40, 3 if chosen.quick else 120),
        }
        for name, part in parts.items():
            if chosen.only in (None, name):
                part()


def compare_losses(encoder: str, updates: int) -> None:
    """Print the largest difference of any loss or gradient norm, with fixed views in float32 and in float16."""
    given = list(transitions(60, side=SIDE, episode=50))
    runs: dict[str, list[dict[str, float]]] = {}
    for name, kind, dtype in (("pictures", "pictures", ""), ("float32", "features", "float32"),
                              ("float16", "features", "float16"), ("int8", "features", "int8")):  # fmt: skip
        setup = Setup(kind, encoder, 60, 16, dtype=dtype, given=given)
        torch.manual_seed(0)
        runs[name] = [setup.update() for _ in range(updates)]
    print(f"\nlargest relative difference of losses to LeRobot's own, {updates} updates, fixed views")
    for name in ("float32", "float16", "int8"):
        worst = max(
            abs(found[key] - each[key]) / max(1e-3, abs(each[key]))
            for each, found in zip(runs["pictures"], runs[name], strict=True)
            for key in each if key.startswith("loss")
        )  # fmt: skip
        print(f"  {name}: {worst:.1e}")


def compare_updates(encoder: str, rounds: int) -> None:
    """Print how many updates stored features make in the time of one of LeRobot's, measured in turn."""
    sizes = {"pictures": 1, "features": 8}
    setups = {kind: Setup(kind, encoder, STEPS, 32, views=1) for kind in sizes}
    seconds = dict.fromkeys(sizes, 0.0)
    for each in setups.values():
        each.update()
    for _ in range(rounds):
        for kind, count in sizes.items():
            before = time.perf_counter()
            for _ in range(count):
                setups[kind].update()
            seconds[kind] += (time.perf_counter() - before) / count
    add = setups["features"].seconds_to_add / STEPS
    print(f"\nupdates, batches of 32, one thread, {rounds} rounds in turn")
    print(f"  features: {seconds['pictures'] / seconds['features']:.1f} updates in the time of one of LeRobot's")
    print(
        f"  to encode a step when it comes in: {add / (seconds['pictures'] / rounds):.3f} of one of LeRobot's updates"
    )


def print_resident(kind: str, encoder: str, steps: int) -> None:
    """Print a step's bytes as allocated, by how many each step makes this process larger, and its size at the end."""
    by_kind: dict[str, dict[str, Any]] = {"two views": {"views": 2}, "int8, two views": {"views": 2, "dtype": "int8"}}
    setup = Setup(
        "pictures" if kind == "pictures" else "features", encoder, steps, 2, given=[], **by_kind.get(kind, {})
    )
    growing = iter(transitions(steps, side=SIDE, episode=50))
    resident = []
    for count in (steps // 10, steps - steps // 10):  # the first tenth also pays for what the libraries allocate once
        for transition in itertools.islice(growing, count):
            setup.buffer.add(**transition)
        resident.append(psutil.Process().memory_info().rss)
    columns = [*setup.buffer.states.values(), setup.buffer.actions]
    print(f"{sum(each[0].nbytes for each in columns)} {(resident[1] - resident[0]) / count:.0f} {resident[1]}")


def compare_memory(quick: bool) -> None:
    """Print bytes of a stored step as allocated, by how many it makes its process larger, and the process's size."""
    steps = QUICK_RESIDENT_STEPS if quick else RESIDENT_STEPS
    print(f"\n{steps} steps, two cameras of 128 x 128: bytes per step allocated, resident, MB of the whole process")
    for kind in ("pictures", "one view", "two views", "int8, two views"):
        command = [sys.executable, __file__, "--fill", kind, *(["--quick"] if quick else [])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        allocated, grown, process = map(float, done.stdout.split()[-3:])
        print(f"  {kind}: {allocated:,.0f} {grown:,.0f} {process / 1e6:,.0f}")


def compare_checkpoints(encoder: str, steps: int) -> None:
    """Print size and time of a checkpoint of the buffer."""
    sizes, seconds = {}, {}
    for kind in ("pictures", "features"):
        setup = Setup(kind, encoder, steps, 2)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "buffer"
            before = time.perf_counter()
            if kind == "pictures":
                setup.buffer.to_lerobot_dataset("seer/checkpoint", fps=10, root=path)
            else:
                write_state(path / "online.safetensors", setup.buffer.state_dict())
            seconds[kind] = time.perf_counter() - before
            sizes[kind] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            shutil.rmtree(path)
    print(f"\ncheckpoint of {steps} steps of random pictures, which don't compress")
    print(f"  bytes per step: pictures {sizes['pictures'] / steps:,.0f}, features {sizes['features'] / steps:,.0f}")
    print(f"  time: features {seconds['features'] / seconds['pictures']:.3f} of LeRobot's")


def drawn_steps(count: int, side: int = 64) -> Iterator[dict[str, Any]]:
    """Give steps of gym_hil's arm, random actions, in episodes of 20."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    import gymnasium
    from gym_hil import GymRenderingSpec

    env = gymnasium.make(
        "gym_hil/PandaPickCube-v0", image_obs=True, reset_delay_seconds=0.0, render_spec=GymRenderingSpec(side, side)
    )
    env.action_space.seed(0)

    def seen(raw: dict[str, Any]) -> dict[str, torch.Tensor]:
        images = [torch.from_numpy(raw["pixels"][name.rpartition(".")[2]].copy()) for name in CAMERAS]
        found = {name: image.permute(2, 0, 1)[None].float() / 255 for name, image in zip(CAMERAS, images, strict=True)}
        return found | {"observation.state": torch.from_numpy(raw["agent_pos"]).float()[None]}

    state = seen(env.reset(seed=0)[0])
    for step in range(count):
        action = env.action_space.sample()
        raw, _, terminated, _, _ = env.step(action)
        following, is_last = seen(raw), (step + 1) % 20 == 0
        hand = following["observation.state"][0, -3:]
        yield {
            "state": state, "action": torch.from_numpy(action)[None], "reward": -float(hand.norm()),
            "next_state": following, "done": bool(terminated) or is_last, "truncated": False,
            "complementary_info": {"discrete_penalty": torch.zeros(1)},
        }  # fmt: skip
        state = seen(env.reset()[0]) if terminated or is_last else following
    env.close()


def compare_views(folder: Path, steps: int, updates: int) -> None:
    """Print how much the critic of each training moves when a picture is shifted: shifts are there to make that small.

    The unit is the spread of its values over observations, of which none was trained on with these shifts.
    """
    encoder = write_resnet(folder / "small", (8, 16, 16, 32))
    given = list(drawn_steps(steps))
    print(f"\nspread of the critic over fresh shifts / over observations, {updates} updates, {steps} steps of the arm")
    for name, kind, views in (("LeRobot, fresh shifts", "pictures", 1), ("4 stored views", "features", 4),
                              ("2 stored views", "features", 2), ("1 stored view", "features", 1),
                              ("no shifts", "features", 0)):  # fmt: skip
        found = []
        for seed in range(SEEDS):
            setup = Setup(kind, encoder, steps, 16, views=views, side=64, given=given)
            torch.manual_seed(seed)
            for _ in range(updates):
                setup.update()
            found.append(sensitivity(setup, given[::5]))
        print(f"  {name}: {sum(found) / SEEDS:.3f} ({min(found):.3f} to {max(found):.3f})")


@torch.no_grad()
def sensitivity(setup: Setup, given: list[dict[str, Any]], shifts: int = 16) -> float:
    """Return the critic's standard deviation over shifts of a picture, relative to that over observations."""
    setup.policy.eval()
    torch.manual_seed(99)
    values = []
    for step in given:
        images = {key: random_shift(step["state"][key].repeat(shifts, 1, 1, 1)) for key in CAMERAS}
        joints = step["state"]["observation.state"].repeat(shifts, 1)
        observation = setup.preprocessor.process_observation(images | {"observation.state": joints})
        features = setup.policy.actor.encoder.get_cached_image_features(observation)
        actions = step["action"][:, :3].repeat(shifts, 1)
        values.append(setup.algorithm._critic_forward(observation, actions, observation_features=features)[0])
    found = torch.stack(values)
    return float(found.std(1).mean() / found.mean(1).std())


if __name__ == "__main__":
    main()
