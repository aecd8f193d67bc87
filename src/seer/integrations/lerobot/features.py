"""The frozen part of a LeRobot policy's encoder: every observation goes through it once, its maps are stored.

Axes: B batch, K views, C, H, W of a picture.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
from lerobot.rl.buffer import random_shift
from torch import Tensor, nn

from seer.core.frozen_weights import weights_digest
from seer.errors import SettingError
from seer.integrations.lerobot.codec import RANGE, dtype_of, pack, unpack

Observation = Mapping[str, Tensor]

FEATURES = "features of "
"""Prefix of a feature map's key among the observations of a batch. It starts unlike a picture's key, so that LeRobot
neither normalises nor shifts it."""

RECENT = 2  # of a transition: its observation, and the next one, which is the next transition's observation


class FrozenFeatures:
    """Turn observations into what the replay stores: the maps of the frozen image encoder, and the vectors as they are.

    Args:
        policy: its image encoder must be frozen. It is set to evaluation mode, so that a map doesn't depend on the
            pictures that are encoded with it.
        preprocessor: LeRobot's own, which normalises pictures.
        dtype: of stored maps: float16, float32 or int8.
        views: randomly shifted copies of each picture that are encoded and stored; 0 stores the picture unshifted.
        shift: pictures [B, C, H, W] to randomly shifted ones; LeRobot's shift of up to 4 pixels by default.

    Attributes:
        image_keys: pictures that are encoded, in the encoder's order.
        digest: see `digest_of`; features of another digest are refused.

    Raises:
        SettingError: the policy has no pictures, or of several sizes, its encoder isn't frozen, or actor and critic
            have different ones.
    """

    def __init__(
        self, policy: GaussianActorPolicy, preprocessor: Any, *, dtype: str = "float16", views: int = 0,
        shift: Callable[[Tensor], Tensor] = random_shift,
    ) -> None:  # fmt: skip
        _refuse_unfit(policy)
        if views < 0:
            raise SettingError(f"views is {views}: store 0, for pictures without shifts, or more")
        self.dtype_name, self.dtype, self.views = dtype, dtype_of(dtype), views
        self._encoder, self._preprocessor, self._shift = policy.encoder_critic, preprocessor, shift
        self.image_keys: list[str] = list(self._encoder.image_keys)
        self._shape = _shapes_of(policy)[0]
        self.device = torch.device(policy.config.device)
        self._encoder.to(self.device).image_encoder.eval()
        self.digest = digest_of(policy, preprocessor)
        self._recent: deque[tuple[dict[str, Tensor], dict[str, Tensor]]] = deque(maxlen=RECENT)

    def row(self, observation: Observation) -> dict[str, Tensor]:
        """Return one observation, each part [1, ...], as it is stored: maps [1, K, ...], vectors [1, D] float32.

        The same row is returned, and nothing encoded, for an observation that equals one of the last two.
        """
        for known, row in self._recent:
            if known.keys() == observation.keys() and all(torch.equal(known[key], observation[key]) for key in known):
                return row
        row = self.rows(observation)
        self._recent.append(({key: value.clone() for key, value in observation.items()}, row))
        return row

    @torch.no_grad()
    def rows(self, observations: Observation) -> dict[str, Tensor]:
        """Return observations [B, ...] as they are stored.

        Raises:
            ValueError: a picture is missing, or of another size than the policy's.
        """
        missing = [key for key in self.image_keys if key not in observations]
        if missing:
            raise ValueError(f"the observation has no {', '.join(missing)}; it has {', '.join(observations)}")
        for key in self.image_keys:
            if (found := tuple(observations[key].shape[1:])) != self._shape:
                raise ValueError(f"{key} has the shape {found}, but in policy.input_features {self._shape}: resize it")
        num_views = max(1, self.views)
        images = {}
        for key in self.image_keys:
            image = as_float(observations[key].to(self.device))
            images[key] = self._shift(image.repeat_interleave(num_views, dim=0)) if self.views else image
        self._encoder.image_encoder.eval()  # policy.train() may have been called since
        maps = self._encoder.get_cached_image_features(self._preprocessor.process_observation(images))
        stored = pack({key: each.float().unflatten(0, (-1, num_views)) for key, each in maps.items()}, self.dtype)
        return stored | {key: value.float() for key, value in observations.items() if key not in self.image_keys}

    def is_map(self, key: str) -> bool:
        """Return whether `key` of a stored row has an axis of views: a map, or an int8 map's range."""
        return picture_of(key) in self.image_keys

    def batch(self, stored: Observation) -> dict[str, Tensor]:
        """Return stored rows [B, ...], one view of each map, as observations; maps are float32, under `FEATURES`."""
        vectors = {key: value for key, value in stored.items() if not self.is_map(key)}
        return vectors | {FEATURES + key: each for key, each in unpack(stored, self.image_keys).items()}


def as_float(image: Tensor) -> Tensor:
    """Return pictures as float32 in [0, 1], which uint8 ones, as datasets may give them, are scaled to."""
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()


def picture_of(key: str) -> str:
    """Return the key of the picture that a stored row's `key` belongs to."""
    return key.removeprefix(RANGE)


def features_of(observations: Observation) -> dict[str, Tensor]:
    """Return the feature maps by picture among the observations of a batch, as the encoder's own cache."""
    found = {key: value for key, value in observations.items() if key.startswith(FEATURES)}
    return {key.removeprefix(FEATURES): value for key, value in found.items()}


def digest_of(policy: GaussianActorPolicy, preprocessor: Any) -> str:
    """Return a sha256 of all that a map depends on: encoder weights, pictures' keys, shapes and normalisation."""
    encoder = policy.encoder_critic
    digest = hashlib.sha256(_weights_digest(encoder.image_encoder).encode())
    for key in encoder.image_keys:
        shape = tuple(policy.config.input_features[key].shape)
        ramp = torch.linspace(0, 1, 5).reshape(1, 1, 5, 1).expand(1, shape[0], 5, 1).to(policy.config.device)
        digest.update(f"{key} {shape}".encode())
        digest.update(preprocessor.process_observation({key: ramp.clone()})[key].cpu().numpy().tobytes())
    return digest.hexdigest()


def _weights_digest(module: nn.Module) -> str:
    named = module.state_dict().items()
    return weights_digest((f"{name} {tuple(each.shape)} {each.dtype}", each) for name, each in named)


def _refuse_unfit(policy: GaussianActorPolicy) -> None:
    actor, critic = policy.encoder_actor, policy.encoder_critic
    if not critic.has_images:
        raise SettingError("policy.input_features has no picture: there are no features to store; use LeRobot's own")
    if len(set(_shapes_of(policy))) > 1:
        raise SettingError(
            f"policy.input_features has pictures of several sizes, {', '.join(map(str, _shapes_of(policy)))}, which "
            "LeRobot's encoder can't take together: resize them to one (env.processor.image_preprocessing)"
        )
    if not policy.config.freeze_vision_encoder or any(p.requires_grad for p in critic.image_encoder.parameters()):
        raise SettingError(
            "policy.freeze_vision_encoder is false: an encoder that learns makes stored features stale; set it to true"
        )
    if actor is not critic and _weights_digest(actor.image_encoder) != _weights_digest(critic.image_encoder):
        raise SettingError(
            "policy.shared_encoder is false, and actor and critic have different image encoders: set it to true"
        )
    if any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in critic.image_encoder.modules()):
        logging.warning(
            "The image encoder has batch normalisation: LeRobot's learner normalises by each batch, stored features by "
            "the encoder's running averages, as LeRobot's actor does; losses differ from LeRobot's own"
        )


def _shapes_of(policy: GaussianActorPolicy) -> list[tuple[int, ...]]:
    return [tuple(policy.config.input_features[key].shape) for key in policy.encoder_critic.image_keys]
