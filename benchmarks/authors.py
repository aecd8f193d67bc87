"""Time an update here and in the code that SEER's authors published, in turn, on batches that lie ready.

    git clone https://github.com/lili-chen/SEER /tmp/authors
    python benchmarks/authors.py /tmp/authors --json authors.json

Settings are the paper's: Rainbow on 18 actions with the data-efficient encoder and batches of 32, one thread; CURL on
one action with batches of 128 crops of 84 pixels, two threads. CURL's figures are means of two updates in a row, as the
actor learns in every second. Their update gets crops as float32; ours crops and converts bytes itself.
"""

import argparse
import importlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from report import number, table
from seer.core.phase import Phase
from seer.presets import preset
from seer.replay import Batch
from seer.training.build_agent import build_agent
from seer.training.computing import settle_computing
from timing import Row, interleave

ACTIONS, ATARI_BATCH, CONTROL_BATCH, LATENT = 18, 32, 128, 576
SLICE_SECONDS = 0.05
CPU = torch.device("cpu")

Call = Callable[[], object]


class Quiet:
    """A logger that keeps nothing."""

    def log(self, *_: Any) -> None:
        """Take a figure."""

    log_param = log_histogram = log


@contextmanager
def importing(folder: Path) -> Iterator[None]:
    """Inside, modules of `folder` can be imported, without packages that they name but an update doesn't need."""
    scikit = types.ModuleType("skimage.util.shape")
    scikit.view_as_windows = None  # type: ignore[attr-defined]
    absent = {name: types.ModuleType(name) for name in ("skimage", "skimage.util", "gym", "data_augs")}
    absent["data_augs"].__getattr__ = lambda _: None  # type: ignore[method-assign]
    absent["gym"].Wrapper = object  # type: ignore[attr-defined]
    before = dict(sys.modules)
    sys.modules.update(absent | {"skimage.util.shape": scikit})
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - set(before):
            if not name.startswith(("torch", "numpy")):
                del sys.modules[name]


def their_rainbow(folder: Path) -> tuple[Call, Call]:
    """Return an update on frames and one on latents of the authors' Rainbow."""
    with importing(folder / "seer_atari"):
        agents = importlib.import_module("agent")
    settings = SimpleNamespace(
        atoms=51, V_min=-10.0, V_max=10.0, device=CPU, batch_size=ATARI_BATCH, multi_step=20, discount=0.99,
        norm_clip=10.0, model=None, learning_rate=1e-4, adam_eps=1.5e-4, architecture="data-efficient",
        history_length=4, hidden_size=256, noisy_std=0.1,
    )  # fmt: skip
    agent = agents.Agent(settings, SimpleNamespace(action_space=lambda: ACTIONS))

    def memory(*shape: int) -> Any:
        states, following = torch.rand(ATARI_BATCH, *shape), torch.rand(ATARI_BATCH, *shape)
        actions, returns = torch.randint(ACTIONS, (ATARI_BATCH,)), torch.rand(ATARI_BATCH)
        batch = (None, states, actions, returns, following, torch.ones(ATARI_BATCH, 1), torch.ones(ATARI_BATCH))
        return SimpleNamespace(sample=lambda _: (*batch, [20] * ATARI_BATCH), device=CPU)

    frames, latents = memory(4, 84, 84), memory(LATENT)

    def learn(update: Callable[[Any], object], replay: Any) -> None:
        agent.reset_noise()  # as their loop does before each update
        update(replay)

    return lambda: learn(agent.learn, frames), lambda: learn(agent.learn_with_latent, latents)


def their_curl(folder: Path) -> tuple[Call, Call]:
    """Return two updates in a row on crops, and two on latents, of the authors' CURL."""
    with importing(folder / "seer_dmc"):
        module = importlib.import_module("curl_sac")
        module.rad.no_aug = None
        agent = module.RadSacAgent(
            (9, 84, 84), (1,), CPU, hidden_dim=1024, init_temperature=0.1, alpha_lr=1e-4, alpha_beta=0.5,
            critic_tau=0.01, encoder_tau=0.05, num_layers=4, num_filters=32, data_augs="no_aug",
        )  # fmt: skip
    common = [torch.rand(CONTROL_BATCH, 1), torch.rand(CONTROL_BATCH, 1)]
    alive = torch.ones(CONTROL_BATCH, 1)

    def crops() -> Tensor:
        return torch.rand(CONTROL_BATCH, 9, 84, 84) * 255

    now, following, other = crops(), crops(), crops()
    replay = SimpleNamespace(sample_cpc=lambda: (now, *common, following, alive, {"obs_anchor": now, "obs_pos": other}))
    rows = [torch.randn(CONTROL_BATCH, 50) for _ in range(4)]
    of_critic = SimpleNamespace(sample_proprio=lambda: (rows[0], *common, rows[1], alive, None, None))
    of_actor = SimpleNamespace(sample_proprio_with_idxs=lambda *_: (rows[2], *common, rows[3], alive))

    def on_frames() -> None:
        for step in (1, 2):
            agent.update(replay, Quiet(), step)

    def on_latents() -> None:
        for step in (10**6 + 1, 10**6 + 2):
            agent.update_with_latent(of_critic, of_actor, Quiet(), step)

    return on_frames, on_latents


def ours(env: str, space: gymnasium.Space[Any], frame: tuple[int, int, int], calls: int) -> tuple[Call, Call]:
    """Return `calls` updates in a row on frames, and as many on latents, of the agent of `env` here."""
    config = settle_computing(preset(env))
    environment: Any = SimpleNamespace(packing=None, frame_shape=frame, stack=config.image.stack, action_space=space)
    size = config.learning.batch_size

    def batch(latent: tuple[int, ...] | None) -> Batch:
        shape = (size, config.image.stack, *frame)

        def see() -> Tensor:
            return torch.randint(0, 256, shape, dtype=torch.uint8) if latent is None else torch.randn(size, *latent)

        discrete = isinstance(space, gymnasium.spaces.Discrete)
        action = torch.randint(ACTIONS, (size,)) if discrete else torch.rand(size, 1)
        common = {"reward": torch.rand(size), "discount": torch.full((size,), 0.9), "weight": torch.ones(size)}
        return Batch(now=see(), action=action, next=see(), index=np.arange(size), **common)

    on_frames, on_latents = (build_agent(config, environment, CPU) for _ in range(2))
    on_latents.freeze(Phase.LATENTS)
    frames, latents = batch(None), batch(on_latents.latent.shape[1:])
    return (
        lambda: [on_frames.update(frames) for _ in range(calls)],
        lambda: [on_latents.update(latents) for _ in range(calls)],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("code", type=Path, help="folder of the authors' code")
    parser.add_argument("--rounds", type=int, default=30, help="measurements of each row (CURL: a third of it)")
    parser.add_argument("--json", type=Path, help="write the medians to this file")
    given = parser.parse_args()
    discrete, continuous = gymnasium.spaces.Discrete(ACTIONS), gymnasium.spaces.Box(-1, 1, (1,))
    alien = ours("ALE/Alien-v5", discrete, (1, 84, 84), 1)
    cartpole = ours("dm_control/cartpole-swingup-v0", continuous, (3, 100, 100), 2)
    suites = (  # name, threads, updates in a call, both codes' calls, rounds
        ("rainbow", 1, 1, their_rainbow(given.code), alien, given.rounds),
        ("curl", 2, 2, their_curl(given.code), cartpole, given.rounds // 3),
    )
    found: dict[str, dict[str, float]] = {}
    for name, threads, updates, theirs, mine, rounds in suites:
        for phase, their_call, our_call in zip(("frames", "latents"), theirs, mine, strict=True):
            rows = [Row("authors", their_call, updates), Row("seer", our_call, updates)]
            measured = interleave(rows, rounds=max(3, rounds), slice_seconds=SLICE_SECONDS, threads=threads)
            found[f"{name}/{phase}"] = {row: 1e3 * each.median for row, each in measured.items()}
    lines = [
        (name, number(each["authors"]), number(each["seer"]), number(each["seer"] / each["authors"]))
        for name, each in found.items()
    ]
    print(table(("update", "authors, ms", "seer, ms", "seer / authors"), lines))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
