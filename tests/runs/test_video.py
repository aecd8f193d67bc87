"""A film holds the pictures that were appended, in their order."""

from pathlib import Path

import numpy as np
from PIL import Image

from seer.runs.video import filming


def test_a_gif_holds_every_picture(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    pictures = [np.full((8, 6, 3), shade, np.uint8) for shade in (10, 120, 250)]
    with filming(path, frames_per_second=20) as append:
        assert append is not None
        for picture in pictures:
            append(picture)
    with Image.open(path) as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (3, (6, 8), 50)
        for number, picture in enumerate(pictures):
            film.seek(number)
            np.testing.assert_allclose(np.asarray(film.convert("RGB")), picture, atol=2)


def test_a_fast_gif_is_shown_as_fast_as_browsers_do(tmp_path: Path) -> None:
    """Pictures of less than 20 ms they show for 100."""
    path = tmp_path / "film.gif"
    with filming(path, frames_per_second=125) as append:
        assert append is not None
        for shade in (0, 250):
            append(np.full((8, 6, 3), shade, np.uint8))
    with Image.open(path) as film:
        assert film.info["duration"] == 20
