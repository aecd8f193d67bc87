"""The same rows for Stable-Baselines3 (Raffin et al. 2021): DQN and SAC as its users run them.

The encoder has our layers, as a plain `nn.Sequential` on channels-first float32; batch, hidden units and learning rate
are our presets'; everything else is the library's default: one Adam, not fused; in SAC an encoder each for actor and
critic (`share_features_extractor=False`), actor and target in every update. It does less than what it is compared
with: no distribution, dueling, noise, priorities or double Q; no crops, no contrastive loss.

It runs in this process, so it profits from our setting of the C library's allocator (`seer/allocator.py`).
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from seer.bench.subject import NEVER, Subject, kind
from seer.bench.timing import Probe, timed
from seer.config import Config
from seer.envs.base import PixelEnvironment
from seer.networks.augment import center_crop
from seer.networks.encoders import CONVOLUTIONS


class FlatFrames(gymnasium.Wrapper[np.ndarray, Any, np.ndarray, Any]):
    """A pixel environment as the library wants it: uint8 [S * C, h, w], cropped to what the encoder sees."""

    def __init__(self, environment: PixelEnvironment, view_size: int) -> None:
        super().__init__(environment)
        self.view_size = view_size
        channels = environment.stack * environment.frame_shape[0]
        self.observation_space = gymnasium.spaces.Box(0, 255, (channels, view_size, view_size), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Any]:
        """As the environment's."""
        observation, info = self.env.reset(seed=seed, options=options)
        return flat(observation, self.view_size), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """As the environment's."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return flat(observation, self.view_size), reward, terminated, truncated, info


class PlainEncoder(BaseFeaturesExtractor):
    """Our encoder's layers, as a user of the library writes them; `latent_size` adds SAC-AE's projection."""

    def __init__(self, space: gymnasium.spaces.Box, *, encoder: str, latent_size: int | None) -> None:
        layers: list[nn.Module] = []
        channels = space.shape[0]
        for layer in CONVOLUTIONS[encoder]:
            layers += [nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride), nn.ReLU()]
            channels = layer.channels
        layers.append(nn.Flatten())
        with torch.no_grad():
            size = nn.Sequential(*layers)(torch.zeros(1, *space.shape)).shape[1]
        if latent_size is not None:
            layers += [nn.Linear(size, latent_size), nn.LayerNorm(latent_size)]
        super().__init__(space, latent_size or size)
        self.layers = nn.Sequential(*layers)

    def forward(self, observations: Tensor) -> Tensor:
        """Features [B, L] of pixels [B, S * C, h, w] in [0, 1]."""
        features: Tensor = self.layers(observations)
        return features


def peer_name(subject: Subject) -> str:
    """What the library's rows begin with."""
    return "sb3-sac" if kind(subject.config) == "control" else "sb3-dqn"


def peer_probes(subject: Subject, environment: PixelEnvironment) -> list[Probe]:
    """Its rows; the loop only where `environment` is a real one."""
    model = make_model(subject.config, environment, rows=subject.frames.replay.size, device=subject.device)
    fill_buffer(model, subject)
    name, device, batch = peer_name(subject), subject.device, subject.config.learning.batch_size
    assert model.replay_buffer is not None
    buffer, observation = model.replay_buffer, flat(subject.frames.environment.observe(), subject.config.view_size)

    def probe(row: str, call: Callable[[], object]) -> Probe:
        return Probe(f"{name}/{row}", timed(call, device))

    def loop(steps: int) -> float:
        return timed(lambda: model.learn(steps, reset_num_timesteps=False, log_interval=NEVER), device)(1)

    probes = [
        probe("update", lambda: model.train(gradient_steps=1, batch_size=batch)),
        probe("act", lambda: model.predict(observation, deterministic=True)),
        probe("sample", lambda: buffer.sample(batch)),
    ]
    return probes if subject.missing else [*probes, Probe(f"{name}/loop", loop)]


def make_model(config: Config, environment: PixelEnvironment, *, rows: int, device: torch.device) -> OffPolicyAlgorithm:
    """DQN or SAC with our encoder's layers, and a buffer of `rows` transitions."""
    learning = config.learning
    control = kind(config) == "control"
    hidden = [learning.hidden_units] * (2 if control else 1)
    encoder = {"encoder": learning.encoder, "latent_size": config.sac.latent_size if control else None}
    options: dict[str, Any] = {
        "buffer_size": rows, "batch_size": learning.batch_size, "learning_rate": learning.learning_rate,
        "learning_starts": 0, "train_freq": 1, "gradient_steps": 1, "device": device, "seed": 0,
        "policy_kwargs": {
            "features_extractor_class": PlainEncoder, "features_extractor_kwargs": encoder, "net_arch": hidden,
        },
    }  # fmt: skip
    if not control:
        options["exploration_initial_eps"] = 0.05  # its last value: a random action would cost nothing
    make = SAC if control else DQN
    model: OffPolicyAlgorithm = make("CnnPolicy", FlatFrames(environment, config.view_size), **options)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def fill_buffer(model: OffPolicyAlgorithm, subject: Subject) -> None:
    """The recorded steps, again and again, until the buffer is full."""
    assert model.replay_buffer is not None
    config, recording = subject.config, subject.recording
    stack = deque([recording[0].frame] * config.image.stack, maxlen=config.image.stack)
    now = flat(np.stack(stack), config.view_size)
    for index in range(model.replay_buffer.buffer_size):
        step, following = (recording[(index + k) % len(recording)] for k in (0, 1))
        stack.append(following.frame)
        after = flat(np.stack(stack), config.view_size)
        reward, done = np.array([step.reward]), np.array([step.over])
        model.replay_buffer.add(now[None], after[None], np.array([step.action]), reward, done, [{}])
        now = after


def flat(observation: np.ndarray, view_size: int) -> np.ndarray:
    """[S, C, H, W] -> [S * C, h, w], the middle."""
    views = center_crop(torch.from_numpy(observation), view_size).numpy()
    return np.ascontiguousarray(views.reshape(-1, *views.shape[-2:]))


def ratios(rows: dict[str, float], subject: Subject) -> dict[str, float]:
    """Milliseconds of our rows over those of the same rows here, where there are such."""
    ours, theirs = subject.agent, peer_name(subject)
    pairs = {
        "update/frames": "update", "update/latents": "update", "act": "act", "act/latents": "act",
        "sample": "sample", "sample/latents": "sample", "loop/frames": "loop", "loop/latents": "loop",
    }  # fmt: skip
    return {
        f"{ours}/{row}": rows[f"{ours}/{row}"] / rows[f"{theirs}/{peer}"]
        for row, peer in pairs.items()
        if f"{ours}/{row}" in rows and f"{theirs}/{peer}" in rows
    }
