"""A frozen encoder of one's own, such as a pretrained one: each observation is encoded once, its features are stored.

Axes: B batch, H, W, C of an image, L features of an observation, all cameras and vectors together.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seer.core.encoder import FreezableEncoder
from seer.core.flops import count_multiply_adds
from seer.core.module_stage import device_of
from seer.core.phase import Phase
from seer.errors import SettingError

Observation = Mapping[str, NDArray[Any]]


def channels_first(images: Tensor) -> Tensor:
    """Return what most encoders read: `[B, H, W, C]` uint8 as `[B, C, H, W]` float32 in [0, 1]."""
    return images.movedim(-1, 1).float() / 255


class Cameras(nn.Module):
    """A stage of an encoder: images of several cameras, and vectors, to one latent [1, L] of a single observation.

    Args: as for `FrozenEncoder`.
    """

    def __init__(
        self, cameras: Mapping[str, nn.Module], example: Observation, pixels: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        missing = sorted(cameras.keys() - example.keys())
        if missing or not cameras:
            raise SettingError(f"the example has no image of {', '.join(missing) or 'any camera'}: cameras names them")
        self.vectors = [name for name in example if name not in cameras]
        for name in self.vectors:
            if np.ndim(example[name]) != 1:
                raise SettingError(f"{name!r} is {np.shape(example[name])}: give cameras a module for it, or drop it")
        self.names, self.cameras = list(cameras), nn.ModuleList(module.eval() for module in cameras.values())
        self.pixels = pixels
        self.shapes = {name: np.shape(example[name]) for name in example}
        with torch.no_grad():
            parts = self.parts(example)
        self.sizes = {name: len(part) for name, part in parts.items()}
        self.output_shape = (sum(self.sizes.values()),)

    def forward(self, observation: Observation) -> Tensor:
        """Return the features [1, L] float32."""
        return torch.cat(list(self.parts(observation).values()))[None]

    def multiply_adds(self) -> int:
        """Return the cost of encoding one observation."""
        images = {name: np.zeros(self.shapes[name], np.uint8) for name in self.names}
        return sum(count_multiply_adds(module, self._image(images, name)) for name, module in self._modules_by_name())

    def parts(self, observation: Observation) -> dict[str, Tensor]:
        """Return what a row is made of, by camera or vector, in the order of the row."""
        found = {}
        for name, module in self._modules_by_name():
            features = module(self._image(observation, name))
            if not isinstance(features, Tensor):
                raise SettingError(
                    f"the module of {name!r} gives a {type(features).__name__}: let it return one tensor"
                )
            found[name] = features.flatten().float().cpu()
        for name in self.vectors:
            found[name] = torch.as_tensor(np.asarray(observation[name], np.float32))
            if not torch.isfinite(found[name]).all():
                raise ValueError(f"{name!r} has numbers that aren't finite: {np.asarray(observation[name]).tolist()}")
        return found

    def _modules_by_name(self) -> list[tuple[str, nn.Module]]:
        return list(zip(self.names, self.cameras, strict=True))

    def _image(self, observation: Observation, name: str) -> Tensor:
        image = np.ascontiguousarray(observation[name])
        if image.dtype != np.uint8:
            raise ValueError(f"the image of {name!r} is {image.dtype}, not uint8")
        return self.pixels(torch.from_numpy(image[None]).to(device_of(self)))


class FrozenEncoder(FreezableEncoder):
    """Turns an observation of cameras and vectors, such as joint angles, into one row of a replay, once.

    A `FreezableEncoder` that is frozen before the first step; `seer.make_replay(latent=encoder.row_format, ...)` makes
    its replay.

    Args:
        cameras: by name, the module that encodes the camera's images; the same one may serve several cameras. Modules
            go to evaluation mode and stop learning.
        example: an observation: an image `[H, W, C]` uint8 per camera, and vectors `[D]`, stored beside the features.
            Other keys are refused, so that nothing is left out unnoticed.
        latent_dtype: what a row is stored as, vectors too: float32, float16 (three decimal digits, up to 65,504) or
            bfloat16 (two digits). int8 needs a sample to fit its range.
        pixels: images `[B, *shape]` uint8 to what the modules read.
        device: where the modules are and images are encoded.

    Attributes:
        sizes: by name, how many of a row's numbers belong to a camera or vector, in the order of the row.
        row_format: `[1, 1, L]`, as it is stored.

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
        pixels: Callable[[Tensor], Tensor] = channels_first,
        device: torch.device | str = "cpu",
    ) -> None:
        if latent_dtype == "int8":
            raise SettingError("latent_dtype 'int8' can't be used here: use float32, float16 or bfloat16")
        stage = Cameras({name: module.to(device) for name, module in cameras.items()}, example, pixels)
        super().__init__(stage, latent_dtype=latent_dtype)
        self.sizes, self._shapes = stage.sizes, stage.shapes
        self.freeze(Phase.LATENTS)

    @torch.no_grad()
    def row(self, observation: Observation) -> Tensor:  # type: ignore[override]  # of cameras
        """Return the features `[1, 1, L]` float32 of one observation, for `Replay.append`, and by `split` for acting.

        Raises:
            ValueError: a part is missing or has another shape than in the example, or an image isn't uint8.
        """
        for name, shape in self._shapes.items():
            if name not in observation or np.shape(observation[name]) != shape:
                raise ValueError(f"{name!r} is {np.shape(observation.get(name, ()))}, in the example it was {shape}")
        return self.encode(observation)  # type: ignore[arg-type]

    def split(self, latents: Tensor) -> dict[str, Tensor]:
        """Return the parts `[..., size]` of `latents` `[..., 1, L]`, as the replay samples or as `row` made them."""
        return dict(zip(self.sizes, latents.squeeze(-2).split(list(self.sizes.values()), dim=-1), strict=True))
