"""How feature maps are stored, and how they are read back.

Axes: B batch, K views. A map is what the frozen image encoder gives for one picture, such as [512, 4, 4].
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from seer.errors import SettingError
from seer.replay.codec import Codec

DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
RANGE = "range of "
"""Prefix of the key under which an int8 map's lowest number and step are stored."""

LEVELS = 255


def dtype_of(name: str) -> torch.dtype:
    """Return the dtype that maps are stored as.

    Raises:
        SettingError: it isn't one of `DTYPES`.
    """
    if name not in DTYPES:
        raise SettingError(f"dtype {name!r} isn't one that features are stored as: {', '.join(DTYPES)}")
    return DTYPES[name]


def pack(maps: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return float32 `maps` [B, K, ...] as they are stored, an int8 map's range [B, K, 2] under a key of its own.

    float16 ends at 65,504; numbers beyond it are stored as that. An int8 map has 255 equal steps between its own
    lowest and highest number, so nothing has to be fitted before the first one is stored.
    """
    stored: dict[str, Tensor] = {}
    for key, each in maps.items():
        if dtype != torch.int8:
            stored[key] = Codec(torch.float32, dtype).encode(each)
            continue
        low, high = torch.aminmax(each.flatten(2), dim=2)
        step = ((high - low) / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        levels = (each.flatten(2) - low[..., None]) / step[..., None]
        stored[key] = (levels.round() - 128).to(torch.int8).reshape(each.shape)
        stored[RANGE + key] = torch.stack([low, step], dim=2)
    return stored


def unpack(stored: Mapping[str, Tensor], keys: list[str]) -> dict[str, Tensor]:
    """Return the float32 maps [B, ...] of `keys`, one view of each, as `pack` stored them."""
    maps: dict[str, Tensor] = {}
    for key in keys:
        codes = stored[key].float()
        if stored[key].dtype == torch.int8:
            low, step = stored[RANGE + key].reshape(len(codes), 2, *[1] * (codes.ndim - 1)).unbind(1)
            codes = torch.addcmul(low, codes + 128, step)
        maps[key] = codes
    return maps
