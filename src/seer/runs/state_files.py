"""Take a state apart: into a JSON tree, and a safetensors file with the tensors and arrays that the tree names.

A plain JSON value stands for itself. Any other value is an object with one key that starts with "$":

    {"$tensor": name}, {"$array": name}                   in the safetensors file
    {"$int": "0x1f..."}, {"$float": "nan"}                integers of more than 63 bits; nan, inf, -inf
    {"$piece": name}                                      in a file of its own, which later states share
    {"$tuple": [...]}, {"$items": [[key, value], ...]}    dicts with integer keys, or keys that start with "$"
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, TensorSpec, safe_open, serialize_file

from seer.replay import Piece

# Nested dicts, keys str or int, of tensors, arrays, pieces, int, float, str, bool, None; lists and tuples of those.
State = dict[str, Any]
Tree = Any  # a state as plain JSON, each tensor and array replaced by its name
Block = torch.Tensor | np.ndarray

CHUNK_BYTES = 8 << 20
SMALL_BYTES = 16 << 20  # a tensor up to this size is copied when read; a larger one stays mapped to its file

METADATA, SEAL = "__metadata__", "sha256"
MOST_HEADER_BYTES = 16 << 20
PIECE_NAME = re.compile(r"[a-z]+(-[0-9]+)+")
PIECE = "piece"  # the tensor's name in a piece's file


def take_apart(state: State, name: str) -> tuple[Tree, dict[str, Block], list[Piece]]:
    """Return a state as a JSON tree, its tensors and arrays by the names that the tree gives them, and its pieces.

    TypeError names the first leaf or key that can't be stored by its path, which starts at `name`.
    """
    blocks: dict[str, Block] = {}
    pieces: list[Piece] = []
    return _encode(state, name, blocks, pieces), blocks, pieces


def put_together(tree: Tree, file: Path) -> Any:
    """Undo `take_apart` with the tensors in `file`, and pieces in the files of their names beside it.

    Tensors above 16 MiB are mapped, not read: they take memory only where they are touched. Writing to one
    changes neither the file nor another reader's view. SafetensorError where the file lacks a tensor, or is none.
    """
    with safe_open(file, framework="pt") as blocks:
        return _decode(tree, blocks.get_tensor, file.parent)


def piece_file(name: str) -> str:
    """Return the name of a piece's file in the folder of its checkpoint; ValueError where it could lead out of it."""
    if not PIECE_NAME.fullmatch(name):
        raise ValueError(f"piece name {name!r}")
    return f"piece-{name}.safetensors"


def piece_names(tree: Tree) -> Iterator[str]:
    """Give the names of all pieces in a tree."""
    match tree:
        case {"$piece": str(name)}:
            yield name
        case dict():
            for value in tree.values():
                yield from piece_names(value)
        case list():
            for value in tree:
                yield from piece_names(value)


def write_blocks(path: Path, blocks: Mapping[str, Block], *, sealed: bool = False) -> dict[str, int | str]:
    """Write a safetensors file and return its size and sha256; no contiguous block in main memory is copied.

    A `sealed` file has the sha256 of its rest in its own header, for `check_seal`. TypeError where a block's dtype or
    layout can't be stored.
    """
    tensors = {name: _as_tensor(block, name) for name, block in blocks.items()}
    _serialize(path, tensors)
    if sealed:  # the header comes first in the file, so the rest is written once to be known
        _serialize(path, tensors, {SEAL: _seal(path)[1]})
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256")
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def check_seal(path: Path) -> None:
    """Raise ValueError where a `sealed` file was changed, or none was sealed."""
    declared, found = _seal(path)
    if declared != found:
        raise ValueError("its bytes don't match their sha256")


def _encode(value: Any, path: str, blocks: dict[str, Block], pieces: list[Piece]) -> Tree:
    match value:
        case torch.Tensor():
            return {"$tensor": _add(value, path, blocks)}
        case np.ndarray():
            return {"$array": _add(value, path, blocks)}
        case Piece():
            pieces.append(value)
            return {"$piece": value.name}
        case None | bool() | str():
            return value
        case int():
            return int(value) if -(2**63) <= value < 2**63 else {"$int": hex(value)}
        case float():
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        case list() | tuple():
            items = [_encode(item, f"{path}/{index}", blocks, pieces) for index, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        case Mapping():
            return _encode_mapping(value, path, blocks, pieces)
    raise TypeError(f"state {path!r} is of type {type(value).__name__}, which can't be stored")


def _add(block: Block, path: str, blocks: dict[str, Block]) -> str:
    """Store a block under its path, with a mark where that is taken: {"a/b": x} beside {"a": {"b": y}}."""
    while path in blocks:
        path += "'"
    blocks[path] = block
    return path


def _encode_mapping(mapping: Mapping[Any, Any], path: str, blocks: dict[str, Block], pieces: list[Piece]) -> Tree:
    for key in mapping:
        if type(key) not in (str, int):
            raise TypeError(f"state {path!r} has a key of type {type(key).__name__}; use str or int")
    items = [(key, _encode(value, f"{path}/{key}", blocks, pieces)) for key, value in mapping.items()]
    if all(isinstance(key, str) and not key.startswith("$") for key in mapping):
        return dict(items)
    return {"$items": [[key, value] for key, value in items]}


def _decode(tree: Tree, get_tensor: Callable[[str], torch.Tensor], folder: Path) -> Any:
    def inner(part: Tree) -> Any:
        return _decode(part, get_tensor, folder)

    match tree:
        case {"$tuple": list(items)}:
            return tuple(inner(item) for item in items)
        case {"$items": list(items)}:
            return {key: inner(value) for key, value in items}
        case dict() if any(key.startswith("$") for key in tree):
            return _decode_leaf(tree, get_tensor, folder)
        case dict():
            return {key: inner(value) for key, value in tree.items()}
        case list():
            return [inner(item) for item in tree]
    return tree


def _decode_leaf(tree: Tree, get_tensor: Callable[[str], torch.Tensor], folder: Path) -> Any:
    match tree:
        case {"$tensor": str(name)}:
            return _own_if_small(get_tensor(name))
        case {"$array": str(name)}:
            return _own_if_small(get_tensor(name)).numpy()
        case {"$piece": str(name)}:
            file = folder / piece_file(name)
            return Piece(name, partial(_read_piece, file), file)
        case {"$int": str(digits)}:
            return int(digits, 16)
        case {"$float": str(digits)}:
            return float(digits)
    raise ValueError(f"no value is written as {str(tree)[:80]}")


def _read_piece(file: Path) -> torch.Tensor:
    with safe_open(file, framework="pt") as blocks:
        tensor: torch.Tensor = blocks.get_tensor(PIECE)
    return tensor


def _own_if_small(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone() if tensor.nbytes <= SMALL_BYTES else tensor


def _as_tensor(block: Block, name: str) -> torch.Tensor:
    """Return a block as a contiguous tensor in main memory; a block that is one already isn't copied."""
    tensor = block
    if isinstance(tensor, np.ndarray):
        try:
            tensor = torch.from_numpy(np.require(tensor, requirements=("C", "W")))
        except (TypeError, ValueError):  # dtypes that only NumPy has: strings, objects, other byte orders
            raise TypeError(f"state {name!r} has dtype {block.dtype}, which can't be stored") from None
    if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
        raise TypeError(f"state {name!r} is {tensor.dtype}, {tensor.layout}; only dense real tensors can be stored")
    return tensor.detach().cpu().contiguous()


def _serialize(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write through safetensors' own writer, from the tensors' memory; its `save_file` refuses tied weights."""
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in tensors.items()
    }
    path.touch()
    mode = path.stat().st_mode
    try:
        serialize_file(specs, path, metadata)
    except SafetensorError as error:  # which has no errno of its own
        if system := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(system[1]), os.strerror(int(system[1]))) from error
        raise
    path.chmod(mode)  # the writer's file is a temporary one that it renames, readable by its owner alone


def _seal(path: Path) -> tuple[str | None, str]:
    """Return the sha256 in a file's header, and that of the rest: the header without it, and the data.

    ValueError where the file has no header of JSON.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ValueError("its header is too long")
        header = json.loads(file.read(length))
        declared = header.pop(METADATA, {}).get(SEAL)
        text = json.dumps(header).encode()
        digest = hashlib.sha256(text + b" " * (-len(text) % 8))
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return declared, digest.hexdigest()
