"""A state in two halves: a JSON tree, and a safetensors file with the tensors and arrays that the tree names.

The file is written here, chunk by chunk, because the library's writer wants every byte in memory at once. The
library reads it. Its layout: the header's length in 8 bytes (little-endian), a JSON header, raw data.

A plain JSON value stands for itself. What JSON can't say is an object with one key that starts with "$":

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
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import safe_open

from seer.replay import Piece

# Nested dicts, keys str or int, of tensors, arrays, pieces, int, float, str, bool, None; lists and tuples of those.
State = dict[str, Any]
Tree = Any  # a state as plain JSON, each tensor and array replaced by its name
Block = torch.Tensor | np.ndarray

CHUNK_BYTES = 8 << 20
SMALL_BYTES = 16 << 20  # a tensor up to this size is copied when read; a larger one stays mapped to its file

METADATA = "__metadata__"
MOST_HEADER_BYTES = 16 << 20
PIECE_NAME = re.compile(r"[a-z]+(-[0-9]+)+")
PIECE = "piece"  # the tensor's name in a piece's file

DTYPE_CODES = {
    torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32", torch.float64: "F64",
    torch.uint8: "U8", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64", torch.bool: "BOOL",
    torch.int8: "I8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64",
}  # fmt: skip


def take_apart(state: State, name: str) -> tuple[Tree, dict[str, Block], list[Piece]]:
    """The JSON tree of a state, its tensors and arrays by the names the tree gives them, and its pieces.

    Raises:
        TypeError: naming, by a path that starts at `name`, the first leaf or key that can't be stored.
    """
    blocks: dict[str, Block] = {}
    pieces: list[Piece] = []
    return _encode(state, name, blocks, pieces), blocks, pieces


def put_together(tree: Tree, file: Path) -> Any:
    """Undo `take_apart` with the tensors in `file`, and pieces in the files of their names beside it.

    Tensors above 16 MiB are mapped, not read: they take memory only where they are touched. Writing to one
    changes neither the file nor another reader's view.

    Raises:
        SafetensorError: the file is none, or lacks a tensor of the tree.
    """
    with safe_open(file, framework="pt") as blocks:
        return _decode(tree, blocks.get_tensor, file.parent)


def piece_file(name: str) -> str:
    """The file of a piece, in the folder of its checkpoint.

    Raises:
        ValueError: a name that could lead out of it.
    """
    if not PIECE_NAME.fullmatch(name):
        raise ValueError(f"piece name {name!r}")
    return f"piece-{name}.safetensors"


def piece_names(tree: Tree) -> Iterator[str]:
    """Of all pieces in a tree."""
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
    """Write a safetensors file without a second copy of any contiguous block; returns its size and sha256.

    A `sealed` one says in its own header what sha256 the rest of it has, for `check_seal`.

    Raises:
        TypeError: a block's dtype or layout can't be stored.
    """
    # The widest items first: then every block starts at a multiple of its item size, mapped ones too.
    tensors = {name: _as_tensor(block, name) for name, block in blocks.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    digest, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as file:
        seal = _seal(tensors) if sealed else None
        for chunk in _chunks(tensors, seal):
            digest.update(chunk)
            _write_all(file, chunk)
            size += len(chunk)
        os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


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
    """Store a block under its path, marked where another has it: {"a/b": x} beside {"a": {"b": y}}."""
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
            return Piece(name, partial(_read_piece, folder / piece_file(name)))
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
    """The same memory as a tensor; an array that PyTorch can't view (read-only, odd strides) is copied."""
    tensor = block
    if isinstance(tensor, np.ndarray):
        try:
            tensor = torch.from_numpy(np.require(tensor, requirements=("C", "W")))
        except (TypeError, ValueError):  # dtypes that only NumPy has: strings, objects, other byte orders
            raise TypeError(f"state {name!r} has dtype {block.dtype}, which can't be stored") from None
    if tensor.dtype not in DTYPE_CODES or tensor.layout != torch.strided:
        raise TypeError(f"state {name!r} is {tensor.dtype}, {tensor.layout}; only dense real tensors can be stored")
    return tensor


def check_seal(path: Path) -> None:
    """That a `sealed` file is as it was written.

    Raises:
        ValueError: it isn't.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ValueError("its header is too long")
        text = file.read(length)
        header = json.loads(text)
        digest = hashlib.sha256()
        seal = header.pop(METADATA)["sha256"]
        if _pad(json.dumps({METADATA: {"sha256": seal}} | header)) != text:
            raise ValueError("its header isn't one of seer's")
        digest.update(_pad(json.dumps(header)))
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != seal:
        raise ValueError("its bytes don't match their sha256")


def _seal(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    chunks = _chunks(tensors)
    digest.update(next(chunks)[8:])  # without its length, which the seal itself changes
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(tensors: Mapping[str, torch.Tensor], seal: str | None = None) -> Iterator[memoryview]:
    """The whole file: views of the tensors' own memory, or one chunk's copy at a time from another device."""
    yield memoryview(_header(tensors, seal))
    for tensor in tensors.values():
        if tensor.numel() == 0:
            continue
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        for start in range(0, raw.numel(), CHUNK_BYTES):
            yield raw[start : start + CHUNK_BYTES].cpu().numpy().data


def _header(tensors: Mapping[str, torch.Tensor], seal: str | None) -> bytes:
    header: dict[str, Any] = {} if seal is None else {METADATA: {"sha256": seal}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        code, shape = DTYPE_CODES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [start, end]}
    text = _pad(json.dumps(header))
    return len(text).to_bytes(8, "little") + text


def _pad(text: str) -> bytes:
    return text.encode() + b" " * (-len(text.encode()) % 8)


def _write_all(file: BinaryIO, chunk: memoryview) -> None:
    while chunk:  # an unbuffered write may stop early, at a signal for one
        chunk = chunk[file.write(chunk) :]
