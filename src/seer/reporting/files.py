"""Read weights by step; write files and folders that overwrite nothing, whole or not at all."""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure

from seer.errors import SettingError, writing_to
from seer.runs.checkpoints import write_atomically
from seer.runs.snapshots import Weights, list_snapshots, read_last, read_snapshot

Item = TypeVar("Item")


def weights_by_step(run: Path) -> dict[int, Callable[[], Weights]]:
    """Return functions that read a run's weights, by step: its snapshots and its last checkpoint, oldest first."""
    found: dict[int, Callable[[], Weights]] = {}
    found |= {step: partial(read_snapshot, path) for step, path in list_snapshots(run).items()}
    step, weights = read_last(run)
    found.setdefault(step, lambda: weights)
    return dict(sorted(found.items()))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return up to `count` of the items, evenly spaced, first and last among them."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[place] for place in places]


def new_picture(out: Path | None, *, default: Path) -> Path:
    """Return where to draw, before any work; SettingError where something is there already, or it is no picture."""
    picture = refuse_other_formats(default if out is None else out)
    refuse_unusable(picture, "--out")
    return picture


def refuse_other_formats(picture: Path) -> Path:
    """Return the file of a picture; SettingError where it isn't PNG or SVG."""
    if picture.suffix not in (".png", ".svg"):
        raise SettingError(f"--out {picture} is no picture: let it end in .png or .svg")
    return picture


def refuse_unusable(path: Path, flag: str) -> None:
    """Raise SettingError where `path` exists, has no folder, or none that can be written in, before any work."""
    if path.exists():
        raise SettingError(f"{path} exists: delete it, or give another place by {flag}")
    if not path.parent.is_dir():
        raise SettingError(f"{flag} {path}: there is no folder {path.parent}")
    with (
        writing_to(f"{flag} {path}", "choose another folder"),
        tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent),
    ):
        pass


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder that becomes `out` at the end of `with`; SettingError where it can't be written."""
    with (
        writing_to(f"--out {out}", "choose another folder"),
        tempfile.TemporaryDirectory(prefix=".new-", dir=out.parent) as hidden,
    ):
        made = Path(hidden) / out.name
        made.mkdir()
        yield made
        made.rename(out)


def write_picture(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; SettingError where that can't be done."""
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write(path, content.getvalue())


def write(path: Path, content: bytes, *, flag: str = "--out") -> None:
    """Write a file in a folder, which is made, whole or not at all; SettingError where that can't be done."""
    with writing_to(f"{flag} {path}", "choose another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
