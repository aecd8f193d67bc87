"""States that tests save and find again."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seer.runs.checkpoints import load_checkpoint, save_checkpoint


def same(left: Any, right: Any) -> bool:
    """Equal in value, type, dtype, shape and order of keys; nan equals nan."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and left.tolist() == right.tolist()
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


def example_state(number: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    weights = torch.randn(3, 4, generator=generator)
    return {"number": number, "weights": weights, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}}


def save_example(root: Path, step: int, **options: int) -> Path:
    parts = {
        "agent": example_state(step),
        "replay": {"bytes": torch.full((100,), step % 256, dtype=torch.uint8)},
    }
    return save_checkpoint(root, step, parts, **options)


def is_example(path: Path, step: int) -> bool:
    loaded = load_checkpoint(path)
    return set(loaded) == {"agent", "replay"} and same(loaded["agent"], example_state(step))


def reseal(path: Path, **changes: Any) -> None:
    """Change a checkpoint's state file as someone who knows the format would."""
    content = json.loads((path / "state.json").read_text())["content"] | changes
    body = json.dumps(content)
    digest = hashlib.sha256(body.encode()).hexdigest()
    (path / "state.json").write_text(f'{{"sha256": "{digest}",\n"content": {body}}}\n')
