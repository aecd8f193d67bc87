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
from seer.core.flops import count_multiply_adds, evaluation_mode
from seer.core.module_stage import device_of
from seer.core.phase import Phase
from seer.errors import SettingError, shortened

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
        self.names, self.cameras = list(cameras), nn.ModuleList(module.eval() for module in cameras.values())
        self.vectors = [name for name in example if name not in cameras]
        for name in example:
            refusal = _refusal_of_vector(example[name]) if name in self.vectors else ""
            if name in cameras and pixels is channels_first:
                refusal = _refusal_of_image(np.asarray(example[name]))
            if refusal:
                raise SettingError(f"{name!r} {refusal}")
        self.pixels = pixels
        self.kinds = {name: (np.shape(each), np.asarray(each).dtype) for name, each in example.items()}
        try:
            with torch.no_grad():
                self.sizes = {name: len(part) for name, part in self.parts(example).items()}
        except SettingError:
            raise
        except Exception as error:  # it is the user's module
            raise SettingError(f"a camera's module doesn't take what pixels gives ({shortened(error)})") from error
        self.output_shape = (sum(self.sizes.values()),)

    def forward(self, observation: Observation) -> Tensor:
        """Return the features [1, L] float32."""
        return torch.cat(list(self.parts(observation).values()))[None]

    def multiply_adds(self) -> int:
        """Return the cost of encoding one observation."""
        images = {name: np.zeros(*self.kinds[name]) for name in self.names}
        named = zip(self.names, self.cameras, strict=True)
        return sum(count_multiply_adds(module, self._image(images[name])) for name, module in named)

    def parts(self, observation: Observation) -> dict[str, Tensor]:
        """Return what a row is made of, by camera or vector, in the order of the row."""
        found = {}
        for name, module in zip(self.names, self.cameras, strict=True):
            with evaluation_mode(module):  # the loop may have put all of its modules into training mode since
                features = module(self._image(observation[name]))
            if not isinstance(features, Tensor):
                raise SettingError(
                    f"the module of {name!r} gives a {type(features).__name__}: let it return one tensor"
                )
            found[name] = features.flatten().float().cpu()
        for name in self.vectors:
            found[name] = torch.as_tensor(np.asarray(observation[name], np.float32)).reshape(-1)
        return found

    def _image(self, image: NDArray[Any]) -> Tensor:
        return self.pixels(torch.from_numpy(np.ascontiguousarray(image)[None]).to(device_of(self)))


def _refusal_of_vector(value: Any) -> str:
    """Return why a part can't be stored beside the features, and the remedy; nothing for numbers."""
    if isinstance(value, Mapping):
        return "is a dict: give its parts under names of their own"
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return "isn't made of numbers: encode it as some, or drop it"
    if array.ndim > 1:
        batch = "; of a batch of one give [0]" if len(array) == 1 else ""
        return f"is {array.shape}: give cameras a module for it, or drop it{batch}"
    return ""


def _refusal_of_image(image: NDArray[Any]) -> str:
    """Return why `channels_first` can't read an image, and the remedy; nothing for one that it can."""
    is_turned = image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3, 4)
    if image.dtype == np.uint8 and image.ndim == 3 and not is_turned:
        return ""
    return (
        f"is {image.dtype} {list(image.shape)}, not one image uint8 [H, W, C]: give pixels, a function from images "
        "[1, ...] like it to what the modules read; of a batch of one give [0]"
    )


class FrozenEncoder(FreezableEncoder):
    """Turns an observation of cameras and vectors, such as joint angles, into one row of a replay, once.

    A `FreezableEncoder` that is frozen before the first step; `seer.make_replay(latent=encoder.row_format, ...)` makes
    its replay.

    Args:
        cameras: by name, the module that encodes the camera's images; the same one may serve several cameras. Modules
            go to evaluation mode and stop learning.
        example: an observation: an image `[H, W, C]` uint8 per camera, and vectors `[D]` or single numbers, stored
            beside the features. Other keys are refused, so that nothing is left out unnoticed.
        latent_dtype: what a row is stored as, vectors too: float32, float16 (three decimal digits, up to 65,504) or
            bfloat16 (two digits). int8 needs a sample to fit its range.
        pixels: images `[B, *shape]` of the example's shape and dtype to what the modules read.
        device: where the modules are and images are encoded.

    Attributes:
        sizes: by name, how many of a row's numbers belong to a camera or vector, in the order of the row.
        row_format: `[1, 1, L]`, as it is stored.

    Raises:
        SettingError: a camera is missing in the example, a part of it is none of those, a module fails or gives no
            tensor, or the dtype is another.
    """

    def __init__(
        self, cameras: Mapping[str, nn.Module], example: Observation, *, latent_dtype: str = "float32",
        pixels: Callable[[Tensor], Tensor] = channels_first, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        if latent_dtype == "int8":
            raise SettingError("latent_dtype 'int8' can't be used here: use float32, float16 or bfloat16")
        stage = Cameras({name: module.to(device) for name, module in cameras.items()}, example, pixels)
        super().__init__(stage, latent_dtype=latent_dtype)
        self.sizes, self._kinds, self._cameras = stage.sizes, stage.kinds, stage.names
        self.freeze(Phase.LATENTS)

    @torch.no_grad()
    def row(self, observation: Observation) -> Tensor:  # type: ignore[override]  # of cameras
        """Return the features `[1, 1, L]` float32 of one observation, for `Replay.append`, and by `split` for acting.

        Raises:
            ValueError: a part is missing, has another shape than in the example or, an image, another dtype, or holds
                what the row's dtype can't.
        """
        if missing := [name for name in self._kinds if name not in observation]:
            raise ValueError(f"the observation has no {', '.join(map(repr, missing))}, as the example had: give it too")
        for name, (shape, dtype) in self._kinds.items():
            if np.shape(observation[name]) != shape:
                raise ValueError(f"{name!r} is {np.shape(observation[name])}, in the example it was {shape}")
            given = np.asarray(observation[name]).dtype
            is_meant_so = given == dtype or given.kind == dtype.kind == "f"
            if name in self._cameras and not is_meant_so:  # pixels in [0, 1] may have become bytes
                raise ValueError(f"{name!r} is {given}, in the example it was {dtype}")
        row = self.encode(observation)  # type: ignore[arg-type]
        largest = torch.finfo(self.row_format.dtype).max
        for name, part in self.split(row).items():
            if not (part.abs() <= largest).all():
                raise ValueError(
                    f"{name!r} has numbers that aren't finite, or beyond {largest:,.0f}, the largest that a row of "
                    f"{self.row_format.dtype} holds: {part.flatten()[:8].tolist()}; see latent_dtype"
                )
        return row

    def split(self, latents: Tensor) -> dict[str, Tensor]:
        """Return the parts `[..., size]` of `latents` `[..., 1, L]`, as the replay samples or as `row` made them."""
        return dict(zip(self.sizes, latents.squeeze(-2).split(list(self.sizes.values()), dim=-1), strict=True))
