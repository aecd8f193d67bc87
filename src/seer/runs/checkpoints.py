"""Checkpoints: folders of tensors and JSON, whole at every moment and checked before use.

    checkpoints/
      step-000010000/
        agent.safetensors          the tensors of the part "agent", and so on for every part
        piece-NAME.safetensors     a piece of the replay's memory
        state.json                 everything else; written last, so a folder without it is unfinished

Nothing is pickled. A save writes a new folder beside the others, renames it, and only then deletes old folders: at
whatever moment it is cut off, one good checkpoint is complete. (Earlier versions wrote the newest one's name to a file
"latest", which says no more than the folders do.)

Each folder holds everything. A piece that the checkpoint before has too isn't written again: it is a hard link to the
same file, or a copy where the file system has no links.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from seer.errors import SettingError
from seer.runs.state_files import (
    PIECE,
    State,
    Tree,
    piece_file,
    piece_names,
    put_together,
    take_apart,
    write_blocks,
)

FORMAT, VERSION = "seer-checkpoint", 2
STATE_FILE = "state.json"
FOLDER_NAME = re.compile(r"step-\d{9,}")
MOST_STATE_BYTES = 16 << 20
FILE_NAME = re.compile(r"[a-z][a-z0-9_-]*")
PART_NAME = re.compile(r"[a-z][a-z0-9_]*")


def save_checkpoint(
    root: Path, step: int, parts: Mapping[str, State], *, keep: int = 2, before: Path | None = None
) -> Path:
    """Write `root/step-<step>` with one file per part, keep the newest `keep` folders.

    Pieces that the checkpoint `before` has are taken from there: it must be the one that this run wrote or loaded last.

    Folders of later steps are deleted too: the run was taken back to an earlier step since. There may be one writer at
    a time, which the lock of a run folder ensures.

    TypeError for a leaf of a type that `State` doesn't allow, SettingError where the disk is full or forbidden: the
    earlier checkpoints are still there.
    """
    final = root / f"step-{step:09d}"
    unfinished = root / f".writing-{final.name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_all(root, ".writing-*")
        unfinished.mkdir()
        _write_parts(unfinished, step, parts, {} if before is None else _stored_files(before))
        _move_into_place(unfinished, final)
        _remove_all(root, ".replaced-*")
        _remove_old(root, final, keep)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        remedy = "make room there or choose another --out"
        raise SettingError(f"checkpoint {final} can't be written ({error.strerror}): {remedy}") from error
    return final


def latest_checkpoint(root: Path) -> Path:
    """Return the newest complete folder in `root`; SettingError where there is none."""
    complete = complete_folders(root)
    if not complete:
        raise SettingError(f"{root} holds no checkpoint: start the run again with another --out")
    return complete[-1]


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint, by its folder's name."""
    return int(checkpoint.name.rpartition("-")[2])


def load_checkpoint(path: Path) -> dict[str, State]:
    """Return the parts of the checkpoint folder `path`, after checking every byte of it against its sha256.

    Tensors above 16 MiB stay mapped to their file: copy them in chunks, then drop them. SettingError names the file and
    the way on where the checkpoint is damaged, incomplete, of another version, or none at all.
    """
    try:
        return _load(path)
    except SettingError as error:
        raise SettingError(f"{error}; {_way_on(path)}") from error


def read_small(file: Path, most: int) -> bytes:
    """Return the content of a file of at most `most` bytes; ValueError where it has more, of which no more are read.

    OSError where there is no such file, or it is a pipe or device, which might never end.
    """
    if not file.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    with file.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by a file of this content: a reader, or a crash, finds the old or the new one whole."""
    unfinished = path.with_name(f".{path.name}.new")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    _make_renames_durable(path.parent)


Stored = dict[str, int | str]  # size and sha256 of a file


def _write_parts(folder: Path, step: int, parts: Mapping[str, State], stored: Mapping[Path, Stored]) -> None:
    trees: dict[str, Tree] = {}
    files: dict[str, Stored] = {}
    by_name = {path.name: path for path in stored}
    for name, state in parts.items():
        if not PART_NAME.fullmatch(name):
            raise ValueError(f"part name {name!r}: use lower-case letters, digits and _")
        trees[name], blocks, pieces = take_apart(state, name)
        files[f"{name}.safetensors"] = write_blocks(folder / f"{name}.safetensors", blocks)
        for piece in pieces:
            file = piece_file(piece.name)
            if file in by_name:
                _link(by_name[file], folder / file)
                files[file] = stored[by_name[file]]
            else:
                files[file] = write_blocks(folder / file, {PIECE: piece.read()})
    content = {"format": FORMAT, "version": VERSION, "step": step, "files": files, "parts": trees}
    write_atomically(folder / STATE_FILE, _seal(content))


def _stored_files(checkpoint: Path) -> dict[Path, Stored]:
    """Return the files of a checkpoint that exist in their full size; none, where it is gone or can't be read."""
    try:
        files: dict[str, Stored] = _read_state_file(checkpoint / STATE_FILE)["files"]
    except SettingError:
        return {}
    paths = {checkpoint / name: record for name, record in files.items()}
    return {path: record for path, record in paths.items() if path.is_file() and path.stat().st_size == record["size"]}


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def _move_into_place(unfinished: Path, final: Path) -> None:
    """Rename a folder; one of the same step steps aside, under a name that `complete_folders` still finds."""
    if final.exists():
        aside = final.with_name(f".replaced-{final.name}")
        if aside.exists():
            _remove(aside)
        final.replace(aside)
    unfinished.replace(final)
    _make_renames_durable(final.parent)


def _make_renames_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_old(root: Path, newest: Path, keep: int) -> None:
    folders = sorted((folder for folder in root.iterdir() if FOLDER_NAME.fullmatch(folder.name)), key=step_of)
    kept = [folder for folder in folders if step_of(folder) <= step_of(newest)][-keep:]
    for folder in folders:
        if folder not in kept:
            _remove(folder)


def _remove_all(root: Path, pattern: str) -> None:
    for folder in root.glob(pattern):
        _remove(folder)


def _remove(folder: Path) -> None:
    """Delete a folder, its completion mark first: stopped half-way, it counts as unfinished."""
    (folder / STATE_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder)


def complete_folders(root: Path) -> list[Path]:
    """List complete folders, oldest first. One that stepped aside counts as long as its replacement isn't there."""
    aside = {step_of(folder): folder for folder in root.glob(".replaced-step-*") if _is_complete(folder)}
    proper = {
        step_of(folder): folder
        for folder in root.glob("step-*")
        if FOLDER_NAME.fullmatch(folder.name) and _is_complete(folder)
    }
    return [folder for _, folder in sorted((aside | proper).items())]


def _is_complete(folder: Path) -> bool:
    return (folder / STATE_FILE).is_file()


def _way_on(path: Path) -> str:
    """Return the remedy for the unreadable checkpoint `path`: the newest other one that loads, if there is one."""
    for other in reversed(complete_folders(path.parent)):
        if other.name == path.name:
            continue
        try:
            _load(other)
        except SettingError:
            continue
        return f"delete {path} to go on from {other.name}, which is whole"
    return "no other checkpoint is left beside it, so start the run again with another --out"


def _load(path: Path) -> dict[str, State]:
    state_file = path / STATE_FILE
    content = _read_state_file(state_file)
    try:
        for file, record in content["files"].items():  # no name leads out of the folder, nor a part's: it has a file
            if file != f"{Path(file).stem}.safetensors" or not FILE_NAME.fullmatch(Path(file).stem):
                raise SettingError(f"checkpoint file {state_file} is foreign: it names a file {file!r}")
            _check_file(path / file, **record)
        _refuse_missing(content)
        return {name: put_together(tree, path / f"{name}.safetensors") for name, tree in content["parts"].items()}
    except (SafetensorError, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"checkpoint file {state_file} doesn't fit its folder ({error!r})") from error


def _refuse_missing(content: dict[str, Any]) -> None:
    """Refuse a checkpoint where a file of a part, or of a piece, isn't among those that were checked."""
    for name, tree in content["parts"].items():
        for file in (f"{name}.safetensors", *map(piece_file, piece_names(tree))):
            if file not in content["files"]:
                raise KeyError(file)


def _read_state_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise SettingError(f"checkpoint {file.parent} is unfinished or none: it has no {file.name}")
    try:
        content = _unseal(read_small(file, MOST_STATE_BYTES))
    except OSError as error:
        raise SettingError(f"checkpoint file {file} can't be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise SettingError(f"checkpoint file {file} is damaged: it doesn't match its own sha256") from error
    if content.get("format") != FORMAT:
        raise SettingError(f"checkpoint file {file} is foreign: seer didn't write it")
    version = content.get("version")
    if version != VERSION:
        raise SettingError(
            f"checkpoint file {file} has version {version}, this seer reads version {VERSION}: "
            "use the seer that wrote it"
        )
    return content


def _check_file(file: Path, *, size: int, sha256: str) -> None:
    if file.is_symlink() or file.parent.is_symlink() or not file.is_file():
        raise SettingError(f"checkpoint file {file} is missing")
    try:
        found = file.stat().st_size
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest() if found == size else ""
    except OSError as error:
        raise SettingError(f"checkpoint file {file} can't be read ({error.strerror})") from error
    if found != size:
        raise SettingError(f"checkpoint file {file} is damaged: it has {found} bytes in place of {size}")
    if digest != sha256:
        raise SettingError(f"checkpoint file {file} is damaged: its bytes don't match their sha256")


def _seal(content: dict[str, Any]) -> bytes:
    """Return JSON of `content` behind the sha256 of that JSON."""
    body = json.dumps(content, allow_nan=False)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{{"sha256": "{digest}",\n"content": {body}}}\n'.encode()


def _unseal(sealed: bytes) -> dict[str, Any]:
    """Return the content that `_seal` sealed; ValueError where that changed, {} for JSON of another kind."""
    outer = json.loads(sealed)
    if not isinstance(outer, dict) or not isinstance(outer.get("content"), dict):
        return {}
    content: dict[str, Any] = outer["content"]
    if _seal(content) != sealed:
        raise ValueError("the seal is broken")
    return content
