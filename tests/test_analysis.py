"""Looking back at a run by the real commands: attention, convergence, and what they refuse."""

import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from seer.analysis.attention import overlay, spatial_attention
from seer.analysis.convergence import Convergence, Layer, pairs_of
from seer.analysis.files import spread
from seer.training.snapshots import list_snapshots
from test_cli import Capture
from tiny_run import seer

FLAGS = (
    *("--env", "ALE/Pong-v5", "--steps", 330, "--first-update", 101, "--batch-size", 8, "--hidden-units", 16),
    *("--freeze-at", "never", "--replay-capacity", 200, "--eval-every", 1000, "--eval-episodes", 1, "--n-step", 3),
    *("--snapshot-every", 100, "--learning-rate", 0.001, "--device", "cpu"),
)
LAYERS = [
    "encoder 1", "encoder 2", "head advantage 1", "head advantage output", "head value 1", "head value output",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis") / "run"
    assert seer("train", *FLAGS, "--out", folder) == 0
    assert list(list_snapshots(folder)) == [0, 100, 200, 300]
    return folder


def test_svcca_of_a_run(run: Path, tmp_path: Path, capsys: Capture) -> None:
    picture, figures = tmp_path / "svcca.png", tmp_path / "svcca.json"
    assert seer("analyze", "svcca", run, "--observations", 60, "--json", figures, "--out", picture) == 0
    found = json.loads(figures.read_text())
    assert (found["steps"], found["gap"]) == ([0, 100, 200], 100)
    assert [layer["name"] for layer in found["layers"]] == LAYERS
    for layer in found["layers"]:
        # Nothing is learnt up to step 100, everything after it.
        np.testing.assert_allclose([layer["svcca"][0], layer["cka"][0]], 1, rtol=1e-9)
        assert all(0 < value < 1 for value in layer["svcca"][1:] + layer["cka"][1:])
        assert layer["trustworthy"] == (layer["samples"] >= 10 * layer["directions"])
    by_name = {layer["name"]: layer for layer in found["layers"]}
    assert by_name["encoder 1"]["samples"] == 60 * 16 * 16  # every position of every image
    assert by_name["head value 1"]["samples"] == 60
    assert matplotlib.image.imread(picture).shape[2] == 4
    said = capsys.readouterr().out
    assert "settle bottom layers first" in said
    assert "encoder 1" in said
    assert seer("analyze", "svcca", run, "--observations", 60, "--gap", 200, "--out", tmp_path / "wide.png") == 0
    assert "200 steps later" in capsys.readouterr().out


def test_svcca_is_the_same_every_time(run: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        flags = ("--observations", 20, "--json", tmp_path / f"{name}.json", "--out", tmp_path / f"{name}.png")
        assert seer("analyze", "svcca", run, *flags) == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_attention_of_a_run(run: Path, tmp_path: Path) -> None:
    picture, video = tmp_path / "attention.png", tmp_path / "attention.mp4"
    assert seer("analyze", "attention", run, "--out", picture, "--video", video) == 0
    height, width, _ = matplotlib.image.imread(picture).shape
    assert height > 600
    assert width > 1000
    assert video.stat().st_size > 10_000


def test_a_run_without_snapshots_shows_its_last_step(run: Path, tmp_path: Path, capsys: Capture) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    shutil.rmtree(bare / "snapshots")
    assert seer("analyze", "attention", bare, "--frames", 1) == 0
    assert (bare / "attention.png").is_file()
    capsys.readouterr()
    assert seer("analyze", "svcca", bare) == 2
    assert "--snapshot-every" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["attention", "svcca"])
def test_nothing_is_overwritten(what: str, run: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("a.png", "a.json"):
        (tmp_path / name).write_text("thesis")
    flags = {"attention": (), "svcca": ("--json", tmp_path / "a.json", "--out", tmp_path / "b.png")}[what]
    assert seer("analyze", what, run, *(flags or ("--out", tmp_path / "a.png"))) == 2
    said = capsys.readouterr().err
    assert "exists: delete it" in said
    assert said.count("\n") == 1
    assert {path.read_text() for path in tmp_path.iterdir()} == {"thesis"}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((), "seer analyze attention RUN"), (("colours",), "seer analyze svcca RUN"),
        (("svcca", "nowhere"), "nowhere"), (("attention", "nowhere"), "nowhere"),
        (("svcca", "RUN", "--gap", 7), "--gap 7"), (("svcca", "RUN", "--observations", 1), "--observations 1"),
        (("attention", "RUN", "--frames", 0), "--frames 0"), (("svcca", "RUN", "--out", "/nowhere/x.txt"), "x.txt"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(flags: tuple[object, ...], named: str, run: Path, capsys: Capture) -> None:
    assert seer("analyze", *(run if flag == "RUN" else flag for flag in flags)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


def test_attention_by_hand() -> None:
    """Mean sizes 0, log 2, log 3 and log 4 of two channels, whatever their signs: shares 1, 2, 3 and 4 of 10."""
    mean = torch.tensor([[1.0, 2], [3, 4]]).log()
    maps = torch.stack([2 * mean, torch.zeros(2, 2)])[None]
    expected = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
    torch.testing.assert_close(spatial_attention(maps), expected)
    torch.testing.assert_close(spatial_attention(-maps), expected)


def test_an_overlay_is_hot_where_attention_is() -> None:
    picture = np.full((40, 40, 3), 100, np.uint8)
    attention = np.zeros((4, 4))
    attention[3, 0] = 1
    heated = overlay(picture, attention).astype(int).sum(-1)
    assert np.unravel_index(heated.argmax(), heated.shape)[0] >= 30
    assert np.unravel_index(heated.argmax(), heated.shape)[1] <= 9
    assert heated[:20, 20:].max() < heated[36, 3]
    assert len(np.unique(overlay(picture, np.ones((4, 4))))) <= 3  # even attention has no hottest place


def test_pairs_are_a_gap_apart() -> None:
    assert pairs_of([0, 100, 200, 300, 330], None) == ([0, 100, 200], 100)
    assert pairs_of([0, 330], None) == ([0], 330)
    assert pairs_of([0, 100, 200, 300], 200) == ([0, 100], 200)
    assert pairs_of([50], None) == ([], 0)


def test_spread_keeps_both_ends() -> None:
    assert spread(range(11), 3) == [0, 5, 10]
    assert spread([7, 8], 5) == [7, 8]
    assert spread([7], 2) == [7]


def test_the_verdict_looks_at_the_encoder_alone() -> None:
    def verdict(*values: float) -> str:
        names = ("encoder 1", "encoder 2", "head value 1")
        return Convergence([0], 10, [Layer(n, [v], [v], 1, 1) for n, v in zip(names, values, strict=True)]).verdict()

    assert "settle bottom layers first; most settled first: encoder 1, encoder 2, head value 1" in verdict(
        0.9, 0.8, 0.1
    )
    assert "don't settle bottom layers first; most settled first: encoder 2" in verdict(0.8, 0.9, 0.1)
    assert "don't" not in verdict(0.9, 0.8, 0.95)


def test_a_dead_layer_is_null_in_the_file() -> None:
    dead = Convergence([0, 5], 10, [Layer("encoder 1", [float("nan"), 0.5], [float("nan")] * 2, 1, 0)])
    (layer,) = json.loads(json.dumps(dead.to_json(), allow_nan=False))["layers"]
    assert (layer["svcca"], layer["cka"]) == ([None, 0.5], [None, None])
