"""The rows of Stable-Baselines3 (Raffin et al. 2021): DQN and SAC as its users run them.

The encoder has our layers, as a plain `nn.Sequential` on channels-first float32; batch, hidden units and learning rate
are our presets'; everything else is the library's default: one Adam, not fused; in SAC an encoder each for actor and
critic (`share_features_extractor=False`), actor and target in every update. It does less than the agents it is compared
with: no distribution, dueling, noise, priorities or double Q; no crops, no contrastive loss.

It runs in this process, so it profits from our setting of the C library's allocator (`seer/allocator.py`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TransformObservation
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from played import Step, fill_buffer, flat
from seer.config import Config
from seer.envs.base import PixelEnvironment
from seer.networks.convolutions import CONVOLUTIONS
from timing import Row

NEVER = 10**9

ROW_OF = {
    "update/frames": "update", "update/latents": "update", "act": "act", "act/latents": "act",
    "sample": "sample", "sample/latents": "sample", "loop/frames": "loop", "loop/latents": "loop",
}  # fmt: skip
"""The row here that one of ours is compared with."""


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
        """Return features [B, L] of pixels [B, S * C, h, w] in [0, 1]."""
        features: Tensor = self.layers(observations)
        return features


def peer_name(config: Config) -> str:
    """Return the beginning of the rows that an agent is compared with."""
    return "sb3-sac" if config.agent in ("sac", "curl") else "sb3-dqn"


def sb3_rows(config: Config, environment: PixelEnvironment, recording: Sequence[Step], *, rows: int) -> list[Row]:
    """Return the rows of an agent like `config`'s, with `rows` transitions in its buffer."""
    model = make_model(config, environment, rows=rows)
    buffer, batch = model.replay_buffer, config.learning.batch_size
    assert buffer is not None
    fill_buffer(buffer, recording, stack=config.image.stack, view_size=config.view_size)
    observation, _ = environment.reset(seed=0)
    seen = flat(observation, config.view_size)
    calls = {
        "update": lambda: model.train(gradient_steps=1, batch_size=batch),
        "act": lambda: model.predict(seen, deterministic=True),
        "sample": lambda: buffer.sample(batch),
        "loop": lambda: model.learn(1, reset_num_timesteps=False, log_interval=NEVER),
    }
    return [Row(f"{peer_name(config)}/{name}", call) for name, call in calls.items()]


def make_model(config: Config, environment: PixelEnvironment, *, rows: int) -> OffPolicyAlgorithm:
    """Return DQN or SAC with our encoder's layers, and a buffer of `rows` transitions."""
    learning, control = config.learning, config.agent in ("sac", "curl")
    encoder = {"encoder": learning.encoder, "latent_size": config.sac.latent_size if control else None}
    options: dict[str, Any] = {
        "buffer_size": rows, "batch_size": learning.batch_size, "learning_rate": learning.learning_rate,
        "learning_starts": 0, "train_freq": 1, "gradient_steps": 1, "device": config.device, "seed": 0,
        "policy_kwargs": {
            "features_extractor_class": PlainEncoder, "features_extractor_kwargs": encoder,
            "net_arch": [learning.hidden_units] * (2 if control else 1),
        },
    }  # fmt: skip
    if not control:
        options["exploration_initial_eps"] = 0.05  # its last value: a random action would cost nothing
    channels, size = environment.stack * environment.frame_shape[0], config.view_size
    space = gymnasium.spaces.Box(0, 255, (channels, size, size), np.uint8)
    seen: Any = TransformObservation(environment, partial(flat, view_size=size), space)
    make = SAC if control else DQN
    model: OffPolicyAlgorithm = make("CnnPolicy", seen, **options)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model
