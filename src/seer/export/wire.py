"""Latents as they could be sent from a device that encodes to a server that decides: in fewer bytes, and at what price.

Axes: B observations, N latents per observation, L latent.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seer.export.check import Agreement, Outputs, compare, run
from seer.export.onnx import POLICY
from seer.replay.codec import Codec, Int8Codec


@dataclass(frozen=True)
class Wire:
    """Latents sent as `dtype`: bytes per observation, and what the policy makes of them beside the exact ones."""

    dtype: str
    num_bytes: int
    agreement: Agreement


def fit_int8(latents: np.ndarray) -> Int8Codec:
    """Fit the ranges of latents [B, N, L] float32, as the replay fits them (`replay/codec.py`)."""
    return Int8Codec.fitted([torch.from_numpy(latents)[:, None]])


def wires(folder: Path, exact: Outputs, int8: Int8Codec) -> list[Wire]:
    """Try latents sent as float32, float16 and int8, whose range should be of other observations than these."""
    latents = torch.from_numpy(exact["latents"])
    expected = dict(exact)
    if "q_values" in exact:
        expected["best_q_value"] = exact["q_values"].max(1)
    found = []
    plain = {"float32": torch.float32, "float16": torch.float16}
    codecs: dict[str, Codec] = {name: Codec(torch.float32, dtype) for name, dtype in plain.items()}
    for dtype, codec in (codecs | {"int8": int8}).items():
        sent = codec.encode(latents)
        received = codec.decode(sent).numpy()
        given = {"latents": received} | run(folder / POLICY, received)
        num_bytes = math.prod(sent.shape[1:]) * sent.element_size()
        found.append(Wire(dtype, num_bytes, compare(expected, given, dtype, tolerance=math.inf)))
    return found
