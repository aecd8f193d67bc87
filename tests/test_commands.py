"""What the commands print and write: tables, pictures, films."""

import json
from pathlib import Path

import cv2
import matplotlib.image
import pytest
import torch

from drawing import needs_drawing
from refusing import PONG, Capture, refused
from seer.runs.folder import read_metrics
from tiny_run import FLAGS, files, seer

pytestmark = pytest.mark.usefixtures("empty_folder")


def table_rows(text: str) -> dict[str, list[str]]:
    """The cells of a printed table by their row's first words; wrapped lines are left out."""
    rows = [[cell.strip() for cell in line.strip("│┃ ").split("│")] for line in text.splitlines() if "│" in line]
    return {cells[0]: cells[1:] for cells in rows if len(cells) > 1}


def test_flops_prints_the_papers_costs(capsys: Capture) -> None:
    """Of Alien, which has all 18 actions, by hand as in test_flops.py."""
    assert seer("flops", "--env", "ALE/Alien-v5") == 0
    rows = table_rows(capsys.readouterr().out)
    encoder, heads = 1_280_000, 576 * 256 * 2 + 256 * 51 * 19
    assert rows["encoder forward pass (E)"][:2] == [f"{encoder:,}", f"{encoder:,}"]
    before, after = 161 * (encoder + heads), 161 * heads + 2 * encoder
    assert rows["one training step"] == [f"{before:,}", f"{after:,}", f"{after / before:.3f}"]
    assert not list(Path.cwd().iterdir())


def test_the_flops_of_a_run_are_foretold(finished_run: Path, capsys: Capture) -> None:
    """`seer flops` with a run's flags says what its ledger has in the end."""
    assert seer("flops", *FLAGS) == 0
    rows = table_rows(capsys.readouterr().out)
    flops = json.loads((finished_run / "summary.json").read_text())["flops"]
    (total,) = [cells for name, cells in rows.items() if name.startswith("1,000 steps")]
    assert total[:2] == [f"{flops['baseline']:.4g}", f"{flops['total']:.4g}"]
    assert rows["one training step"][:2] == [f"{flops['per_step_before']:,}", f"{flops['per_step_after']:,}"]


def test_memory_prints_capacities(capsys: Capture) -> None:
    assert seer("memory", *PONG, "--replay-capacity", "3000", "--steps", "6000", "--freeze-at", "4000") == 0
    rows = table_rows(capsys.readouterr().out)
    assert rows["bytes of the memory block"][:2] == ["21,168,000", "21,168,000"]
    assert rows["bytes per stored step"][:2] == ["7,056", "2,304"]
    assert rows["capacity in steps"] == ["3,000", "9,187", "3.062"]
    assert seer("memory", *PONG, "--replay-memory", "70MB", "--encoder", "canonical") == 0
    text = capsys.readouterr().out
    assert table_rows(text)["capacity in steps"][:2] == [f"{70_000_000 // 7056:,}"] * 2
    assert "12,544 bytes as float32" in text
    assert seer("memory", *PONG, "--replay-memory", "70MB", "--encoder", "canonical", "--latent-dtype", "float16") == 0
    assert table_rows(capsys.readouterr().out)["bytes per stored step"][:2] == ["7,056", "6,272"]
    assert seer("memory", *PONG, "--replay-memory", "70MB", "--encoder", "canonical", "--latent-pool", "4") == 0
    assert table_rows(capsys.readouterr().out)["bytes per stored step"][:2] == ["7,056", f"{64 * 4 * 4 * 4:,}"]


@pytest.mark.parametrize(
    ("dtype", "atari", "control"),
    [("float32", 2304, 1600), ("float16", 1152, 800), ("bfloat16", 1152, 800), ("int8", 576, 400)],
)
def test_smaller_latents_take_the_bytes_they_should(dtype: str, atari: int, control: int, capsys: Capture) -> None:
    for env, row_bytes in (("ALE/Pong-v5", atari), ("dm_control/cartpole-swingup-v0", control)):
        if env.startswith("dm_control"):
            needs_drawing()
        assert seer("memory", "--env", env, "--replay-memory", "70MB", "--latent-dtype", dtype) == 0
        rows = table_rows(capsys.readouterr().out)
        assert rows["bytes per stored step"][1] == f"{row_bytes:,}"
        assert rows["capacity in steps"][1] == f"{70_000_000 // row_bytes:,}"


@pytest.mark.parametrize("x", ["steps", "flops", "seconds"])
def test_plot_draws_a_finished_run(x: str, finished_run: Path, capsys: Capture) -> None:
    assert seer("plot", finished_run, "--x", x, "--out", "curve.png") == 0
    assert "wrote curve.png" in capsys.readouterr().out
    again = ("plot", finished_run, "--x", x, "--out", "curve.png")
    assert "curve.png exists: give another place, or --overwrite" in refused(capsys, *again)
    assert seer(*again, "--overwrite") == 0
    picture = matplotlib.image.imread("curve.png")
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.01  # something is drawn


def test_eval_plays_and_films(stopped_run: Path, capsys: Capture) -> None:
    """A real MP4, as long as the game and in its colours; the run is left as it was, and plays the same again.

    On as many threads as in training: more than there are free cores crawl.
    """
    before, played = files(stopped_run), []
    for threads, video in ((1, ("--video", "game.mp4")), (2, ())):
        torch.set_num_threads(threads)
        assert seer("eval", stopped_run, "--episodes", 1, "--seed", 3, *video) == 0
        assert torch.get_num_threads() == 1
        played.append(table_rows(capsys.readouterr().out))
    rows, again = played
    assert rows == again
    steps = int(rows["steps"][0].replace(",", ""))
    assert steps == 150
    assert -21 <= float(rows["scores"][0]) <= 0  # nobody wins so soon
    film = cv2.VideoCapture("game.mp4")
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(15)  # 60 a second, every fourth seen
    pictures = [picture for seen, picture in iter(film.read, (False, None)) if seen]
    film.release()
    assert {picture.shape for picture in pictures} == {(420, 320, 3)}  # 210x160, enlarged twice
    assert len(pictures) == steps + 1
    assert pictures[0].std() > 10  # the field, paddles and score, not an empty screen
    assert (pictures[0] != pictures[steps // 2]).any()
    assert files(stopped_run) == before


def test_training_prints_progress_the_freeze_and_a_table(capsys: Capture) -> None:
    flags = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True)) | {
        "--steps": 330, "--freeze-at": 325, "--first-update": 320, "--eval-every": 1000, "--log-every": 330,
        "--max-episode-steps": 50,
    }  # fmt: skip
    assert seer("train", *(word for pair in flags.items() for word in pair), "--agent", "dqn") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("encoder frozen; ") == 1
    assert "7,056 bytes" in text
    assert "2,304 bytes" in text
    for row in ("score", "FLOPs", "bytes per stored step", "replay capacity", "time"):
        assert row in text
    (folder,) = Path("runs").iterdir()  # the default: env, agent, seed, time
    assert folder.name.startswith("ALE-Pong-v5-dqn-0-")
    assert [record["step"] for record in read_metrics(folder) if record["kind"] == "freeze"] == [325]
