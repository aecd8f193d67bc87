"""A frozen encoder of one's own, such as a pretrained one: each observation is encoded once, its features are stored.

Axes: B batch, H, W, C of an image, L features of an observation, all cameras and vectors together.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seer.errors import SettingError, shortened
from seer.library import count_multiply_adds
from seer.replay import LATENT_DTYPES, Replay, RowFormat
from seer.replay.make import make_replay

Observation = Mapping[str, NDArray[Any]]


def channels_first(images: Tensor) -> Tensor:
    """What most encoders read: `[B, H, W, C]` uint8 as `[B, C, H, W]` float32 in [0, 1]."""
    return images.movedim(-1, 1).float() / 255


class FrozenEncoder:
    """Turns an observation of cameras and vectors, such as joint angles, into one row of a replay, once.

    Args:
        cameras: by name, the module that encodes the camera's images; the same one may serve several cameras. Modules
            go to evaluation mode and stop learning.
        example: an observation: an image `[H, W, C]` uint8 per camera, and vectors `[D]`, stored beside the features.
            Other keys are refused, so that nothing is left out unnoticed.
        latent_dtype: what a row is stored as, vectors too: float32, float16 (three decimal digits, up to 65,504) or
            bfloat16 (two digits). int8 needs a sample to fit its range.
        prepare: images `[B, *shape]` uint8 to what the modules read.
        device: where the modules are and images are encoded.

    Attributes:
        sizes: by name, how many of a row's numbers belong to a camera or vector, in the order of the row.
        row_format: `[1, 1, L]`, as it is stored.
        multiply_adds: of encoding one observation: E in the paper's cost formulas.

    Raises:
        SettingError: a camera is missing in the example, a key of it isn't a vector, a module gives no tensor, or the
            dtype is another.
        ValueError: an image of the example isn't uint8.
    """

    def __init__(
        self,
        cameras: Mapping[str, nn.Module],
        example: Observation,
        *,
        latent_dtype: str = "float32",
        prepare: Callable[[Tensor], Tensor] = channels_first,
        device: torch.device | str = "cpu",
    ) -> None:
        if latent_dtype not in LATENT_DTYPES or latent_dtype == "int8":
            raise SettingError(f"latent_dtype {latent_dtype!r} can't be used here: use float32, float16 or bfloat16")
        missing = sorted(cameras.keys() - example.keys())
        if missing or not cameras:
            raise SettingError(f"the example has no image of {', '.join(missing) or 'any camera'}: cameras names them")
        others = [name for name in example if name not in cameras]
        for name in others:
            if np.ndim(example[name]) != 1:
                raise SettingError(f"{name!r} is {np.shape(example[name])}: give cameras a module for it, or drop it")
        self.cameras = {name: module.to(device).eval().requires_grad_(False) for name, module in cameras.items()}
        self.device = torch.device(device)
        self._prepare = prepare
        self._shapes = {name: np.shape(example[name]) for name in example}
        parts = self._parts(example)
        self.sizes = {name: len(part) for name, part in parts.items()}
        self.row_format = RowFormat((1, 1, sum(self.sizes.values())), LATENT_DTYPES[latent_dtype])
        self.multiply_adds = sum(
            count_multiply_adds(module, self._prepare(self._image(example, name)))
            for name, module in self.cameras.items()
        )

    def row(self, observation: Observation) -> Tensor:
        """Features `[1, 1, L]` float32 of one observation, for `Replay.append`, and by `split` for acting.

        Raises:
            ValueError: a part is missing or has another shape than in the example, or an image isn't uint8.
        """
        for name, shape in self._shapes.items():
            if name not in observation or np.shape(observation[name]) != shape:
                raise ValueError(f"{name!r} is {np.shape(observation.get(name, ()))}, in the example it was {shape}")
        return torch.cat(list(self._parts(observation).values())).view(self.row_format.shape)

    def split(self, latents: Tensor) -> dict[str, Tensor]:
        """The parts `[..., size]` of `latents` `[..., 1, L]`, as the replay samples them or as `row` made them."""
        return dict(zip(self.sizes, latents.squeeze(-2).split(list(self.sizes.values()), dim=-1), strict=True))

    def make_replay(self, *, num_bytes: int, action_space: gymnasium.Space[Any], **settings: Any) -> Replay:
        """A replay of `num_bytes // row_format.num_bytes` such rows; other settings as in `seer.make_replay`.

        Raises:
            SettingError: the memory is too small for one window, or the action space is neither Discrete nor Box.
        """
        shape = (self.row_format.num_bytes,)
        replay = make_replay(num_bytes=num_bytes, frame_shape=shape, stack=1, action_space=action_space, **settings)
        replay.transcode(_nothing_to_encode, self.row_format)  # a freeze before the first step
        return replay

    @torch.no_grad()
    def _parts(self, observation: Observation) -> dict[str, Tensor]:
        parts = {}
        for name, module in self.cameras.items():
            features = module(self._prepare(self._image(observation, name)))
            if not isinstance(features, Tensor):
                raise SettingError(
                    f"the module of {name!r} gives a {type(features).__name__}: let it return one tensor"
                )
            parts[name] = features.flatten().float().cpu()
        for name in self._shapes:
            if name not in self.cameras:
                parts[name] = torch.as_tensor(np.asarray(observation[name], np.float32))
                if not torch.isfinite(parts[name]).all():
                    raise ValueError(
                        f"{name!r} has numbers that aren't finite: {np.asarray(observation[name]).tolist()}"
                    )
        return parts

    def _image(self, observation: Observation, name: str) -> Tensor:
        image = np.ascontiguousarray(observation[name])
        if image.dtype != np.uint8:
            raise ValueError(f"the image of {name!r} is {image.dtype}, not uint8")
        return torch.from_numpy(image[None]).to(self.device)


def _nothing_to_encode(_frames: Tensor) -> Tensor:
    raise AssertionError("an empty replay has nothing to encode")


def load_module(factory: str, weights: Path | None = None) -> nn.Module:
    """The module that `factory`, "package.module:callable", makes, with the weights of a safetensors file.

    Only the factory's own module is imported, by its name; the file holds numbers and nothing that runs.

    Raises:
        SettingError: there is no such factory, it makes no module, or the weights aren't that module's.
    """
    where, _, name = factory.partition(":")
    try:
        make = getattr(importlib.import_module(where), name)
    except Exception as error:  # whatever runs at import
        raise SettingError(
            f"{factory!r} can't be imported ({shortened(error)}); write it as package.module:callable"
        ) from error
    try:
        module = make()
    except Exception as error:
        raise SettingError(
            f"{factory!r} failed ({shortened(error)}); name a callable that needs no arguments and returns a module"
        ) from error
    if not isinstance(module, nn.Module):
        raise SettingError(f"{factory} makes a {type(module).__name__}: it must return a torch.nn.Module")
    if weights is not None:
        load_weights(module, weights)
    return module


def load_weights(module: nn.Module, file: Path) -> None:
    """Give `module` the weights of a safetensors file.

    Raises:
        SettingError: the file can't be read, or its weights aren't the module's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise SettingError(
            f"{file} doesn't fit {type(module).__name__} ({shortened(error)}); give its own weights"
        ) from error


class ModuleStage(nn.Module):
    """A module of one's own as the lowest stage of an `Encoder`: [B, S*C, H, W] in [0, 1] to maps [B, *output_shape].

    It stays in evaluation mode. Features without height and width become maps of one place.

    Raises:
        SettingError: the module doesn't take such images.
    """

    def __init__(self, module: nn.Module, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.module = module.eval()
        blank = torch.zeros(1, *input_shape)
        try:
            with torch.no_grad():
                shape = tuple(self.module(blank).shape[1:])
            self._multiply_adds = count_multiply_adds(self.module, blank)
        except Exception as error:  # it is the user's code
            raise SettingError(
                f"--encoder-factory: its module doesn't take images [B, {', '.join(map(str, input_shape))}], whose "
                f"channels are those of all stacked frames ({shortened(error)}); give one that does"
            ) from error
        self.output_shape = shape if len(shape) == 3 else (math.prod(shape), 1, 1)

    def train(self, mode: bool = True) -> "ModuleStage":
        """Stay in evaluation mode: running statistics are part of what is frozen."""
        super().train(mode)
        self.module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Maps [B, *output_shape] float32."""
        features: Tensor = self.module(images.float())
        return features.float().reshape(-1, *self.output_shape)

    def multiply_adds(self) -> int:
        """Of one forward pass on one observation."""
        return self._multiply_adds
