"""A small LeRobot policy, its processors, and random transitions of a two-camera arm."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies import make_pre_post_processors
from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
from lerobot.rl.algorithms.sac import SACAlgorithm, SACAlgorithmConfig

import lerobot_resnet10 as resnet10

CAMERAS = ("observation.images.front", "observation.images.wrist")
JOINTS = 18
SIDE = 64

STATS: dict[str, Any] = {
    camera: {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]} for camera in CAMERAS
} | {
    "observation.state": {"min": [-1.0] * JOINTS, "max": [1.0] * JOINTS},
    "action": {"min": [-1.0] * 3, "max": [1.0] * 3},
}


def _config(side: int = SIDE, **changes: Any) -> GaussianActorConfig:
    inputs = {camera: PolicyFeature(FeatureType.VISUAL, (3, side, side)) for camera in CAMERAS}
    settings: dict[str, Any] = {
        "device": "cpu", "dataset_stats": STATS, "num_discrete_actions": 3, "latent_dim": 16,
        "image_encoder_hidden_dim": 8, "push_to_hub": False,
    }  # fmt: skip
    return GaussianActorConfig(
        input_features=inputs | {"observation.state": PolicyFeature(FeatureType.STATE, (JOINTS,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (3,))}, **(settings | changes),
    )  # fmt: skip


def policy_of(seed: int = 0, **changes: Any) -> GaussianActorPolicy:
    """Return a policy in training mode, whose weights are those of `seed`."""
    torch.manual_seed(seed)
    return GaussianActorPolicy(_config(**changes)).train()


def preprocessor_of(policy: GaussianActorPolicy) -> Any:
    """Return the steps that normalise a batch, as LeRobot's learner makes them."""
    return make_pre_post_processors(policy_cfg=policy.config, dataset_stats=policy.config.dataset_stats)[0]


def algorithm_of(kind: type[SACAlgorithm], policy: GaussianActorPolicy, seed: int = 1, **changes: Any) -> SACAlgorithm:
    """Return an algorithm for the policy, whose critics are those of `seed`."""
    torch.manual_seed(seed)
    settings = SACAlgorithmConfig.from_policy_config(policy.config)
    for name, value in changes.items():
        setattr(settings, name, value)
    return kind(policy, settings)


def observation(generator: torch.Generator, side: int = SIDE) -> dict[str, torch.Tensor]:
    """Return a random observation; pictures are float32 that were uint8, as LeRobot's environments give them."""
    images = torch.randint(256, (2, 1, 3, side, side), generator=generator, dtype=torch.uint8).float() / 255
    joints = torch.rand(1, JOINTS, generator=generator) * 2 - 1
    return dict(zip(CAMERAS, images, strict=True)) | {"observation.state": joints}


def transitions(
    count: int, *, seed: int = 0, episode: int = 7, side: int = SIDE, gripper: bool = True
) -> Iterator[dict[str, Any]]:
    """Give random steps, in episodes that end in turn by success and by a time limit."""
    generator = torch.Generator().manual_seed(seed)
    state, episodes = observation(generator, side), 0
    for step in range(count):
        is_last, following = (step + 1) % episode == 0, observation(generator, side)
        action = torch.rand(1, 3, generator=generator) * 2 - 1
        if gripper:
            action = torch.cat([action, torch.randint(3, (1, 1), generator=generator).float()], dim=1)
        yield {
            "state": state,
            "action": action,
            "reward": float(torch.rand((), generator=generator)),
            "next_state": following,
            "done": is_last and episodes % 2 == 0,
            "truncated": is_last and episodes % 2 == 1,
            "complementary_info": {
                "discrete_penalty": torch.rand(1, generator=generator), "is_intervention": torch.tensor(step % 3 == 0),
            },
        }  # fmt: skip
        state, episodes = (observation(generator, side), episodes + 1) if is_last else (following, episodes)


def write_resnet(folder: Path, hidden_sizes: tuple[int, ...] = (8, 16, 32, 64), seed: int = 0) -> str:
    """Write a ResNet-10 with random weights as a hub folder with code of its own; return its path for a config.

    Four stages of one block with group normalisation: the architecture of LeRobot's pretrained encoder, which can't be
    downloaded here.
    """
    folder.mkdir()
    torch.manual_seed(seed)
    resnet10.ResNet10(resnet10.Config(hidden_sizes)).save_pretrained(folder)
    shutil.copy(resnet10.__file__, folder)
    found = json.loads((folder / "config.json").read_text())
    found["auto_map"] = {"AutoConfig": "lerobot_resnet10.Config", "AutoModel": "lerobot_resnet10.ResNet10"}
    (folder / "config.json").write_text(json.dumps(found))
    return str(folder)
