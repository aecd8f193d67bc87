"""Write films: MP4, or GIF where a page has to show them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from seer.errors import SettingError

HEIGHT = 480
"""Approximate height of a film in pixels: small screens are enlarged by a whole factor."""


@contextmanager
def filming(path: Path | None, *, frames_per_second: float) -> Iterator[Callable[[np.ndarray], None] | None]:
    """Give a function that appends a picture [height, width, 3] to the film at `path`; None where `path` is None.

    SettingError where the extra is missing, or the file exists or can't be written.
    """
    if path is None:
        yield None
        return
    if path.exists():
        raise SettingError(f"--video {path} exists; give another name or delete it")
    if path.suffix not in WRITERS or not path.parent.is_dir():
        raise SettingError(f"--video {path}: give a name that ends in .mp4 or .gif, in a folder that exists")
    with WRITERS[path.suffix](path, frames_per_second) as append:
        yield append


@contextmanager
def _mp4(path: Path, frames_per_second: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Write each picture when it comes, enlarged to about `HEIGHT`."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise SettingError(
            "--video: an MP4 needs the extra: pip install 'seer-rl[video]'; a name that ends in .gif needs none"
        ) from None
    writer = None

    def append(picture: np.ndarray) -> None:
        nonlocal writer
        factor = max(1, round(HEIGHT / len(picture)))
        picture = picture.repeat(factor, 0).repeat(factor, 1)
        picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # the codec wants even sides
        if writer is None:
            height, width, _ = picture.shape
            writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=frames_per_second, macro_block_size=2)
            writer.send(None)
        writer.send(np.ascontiguousarray(picture))

    try:
        yield append
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _gif(path: Path, frames_per_second: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Write all pictures at the end, in 64 colours: they are kept in memory, so this is for short films."""
    from PIL import Image

    pictures: list[Image.Image] = []

    def append(picture: np.ndarray) -> None:
        pictures.append(Image.fromarray(np.ascontiguousarray(picture)).quantize(64, dither=Image.Dither.NONE))

    yield append
    if pictures:
        milliseconds = max(20, round(1000 / frames_per_second))  # browsers take what is shorter for 100
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)


WRITERS = {".mp4": _mp4, ".gif": _gif}
