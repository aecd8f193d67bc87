"""The state of a feature buffer, and the file that it is checkpointed in."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seer.errors import SettingError
from seer.runs.state_files import put_together, take_apart

if TYPE_CHECKING:
    from seer.integrations.lerobot.buffer import FeatureReplayBuffer

TREE = "seer"  # the name of the state's JSON in the file's own metadata
COLUMNS = ("actions", "rewards", "dones", "truncateds")
CHUNK = 1024  # steps that are copied at once


def state_of(buffer: "FeatureReplayBuffer") -> dict[str, Any]:
    """Return a buffer's state; its tensors share the buffer's memory. `oldest` is the oldest step's place in them."""
    features, size = buffer.features, buffer.size
    state: dict[str, Any] = {
        "digest": features.digest, "dtype": features.dtype_name, "views": features.views, "size": size,
        "oldest": (buffer.position - size) % buffer.capacity, "kept": buffer.kept.state_dict(),
    }  # fmt: skip
    if not size:
        return state
    apart = sorted(buffer._apart)
    keys = buffer.states if apart else ()
    return state | {
        "states": {key: each[:size] for key, each in buffer.states.items()},
        "info": {key: each[:size] for key, each in buffer.complementary_info.items()},
        "columns": {name: getattr(buffer, name)[:size] for name in COLUMNS},
        "apart": torch.tensor(apart, dtype=torch.int64),
        "apart_rows": {key: torch.cat([buffer._apart[slot][key] for slot in apart]) for key in keys},
    }


def load_state(buffer: "FeatureReplayBuffer", state: Mapping[str, Any]) -> None:
    """Fill a new buffer with a state's steps, the newest that fit.

    Raises:
        SettingError: the features are another encoder's, or are stored in another dtype or number of views.
    """
    check_features(buffer.features.digest, buffer.features.dtype_name, buffer.features.views, state)
    buffer.kept.load_state_dict(state["kept"])
    size = state["size"]
    if not size:
        return
    order = ((torch.arange(size) + state["oldest"]) % size)[-buffer.capacity :]
    info = {key: each[:1] for key, each in state["info"].items()}
    buffer._initialize_storage(
        {key: each[:1] for key, each in state["states"].items()}, state["columns"]["actions"][:1], info or None
    )
    for key, saved in state["states"].items():
        _fill(buffer.states[key], saved, order)
    for key, saved in state["info"].items():
        _fill(buffer.complementary_info[key], saved, order)
    for name in COLUMNS:
        _fill(getattr(buffer, name), state["columns"][name], order)
    slot_of = {place: slot for slot, place in enumerate(order.tolist())}
    for row, place in enumerate(state["apart"].tolist()):
        if place in slot_of:
            buffer._apart[slot_of[place]] = {
                key: each[row : row + 1].clone().to(buffer.storage_device) for key, each in state["apart_rows"].items()
            }
    buffer.size, buffer.position = len(order), len(order) % buffer.capacity


def check_features(digest: str, dtype: str, views: int, state: Mapping[str, Any]) -> None:
    """Raise SettingError where a state's features can't be used with an encoder of `digest`."""
    if state["digest"] != digest:
        raise SettingError(
            f"the stored features are of another encoder or normalisation ({state['digest'][:12]}) than the policy's "
            f"({digest[:12]}): resume with that policy, or start anew"
        )
    if (state["dtype"], state["views"]) != (dtype, views):
        raise SettingError(
            f"the features are stored as {state['dtype']} with {state['views']} views, not as {dtype} with {views}: "
            "set dtype and views to what they are"
        )


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state to one safetensors file; an earlier one is replaced only once the new one is whole."""
    tree, blocks, _ = take_apart(dict(state), "state")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(
        {name: torch.as_tensor(block).contiguous().cpu() for name, block in blocks.items()}, part,
        metadata={TREE: json.dumps(tree)},
    )  # fmt: skip
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(path)


def read_state(path: Path) -> dict[str, Any]:
    """Return a written state; large tensors are mapped to the file and read as they are used.

    Raises:
        SettingError: the file is damaged, or another program's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tree = json.loads((file.metadata() or {})[TREE])
        state: dict[str, Any] = put_together(tree, path)
    except (KeyError, OSError, SafetensorError, ValueError) as error:
        raise SettingError(
            f"{path} holds no features that can be read ({error}): delete it to start without"
        ) from error
    return state


def _fill(rows: Tensor, saved: Tensor, order: Tensor) -> None:
    for start in range(0, len(order), CHUNK):
        places = order[start : start + CHUNK]
        rows[start : start + len(places)] = saved[places].to(rows.device)
