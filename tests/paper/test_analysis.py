"""Looking back at a run by the real commands: attention, convergence, and what they refuse."""

import json
import shutil
from io import StringIO
from math import nan
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from rich.console import Console

from refusing import Capture
from seer.paper.attention import overlay, spatial_attention
from seer.paper.convergence import Convergence, Layer, convergence_table, pairs_of
from seer.reporting.files import spread
from seer.runs.snapshots import list_snapshots
from tiny_run import seer

FLAGS = (
    *("--env", "ALE/Pong-v5", "--steps", 330, "--first-update", 101, "--batch-size", 8, "--hidden-units", 16),
    *("--freeze-at", "never", "--replay-capacity", 200, "--eval-every", 1000, "--eval-episodes", 1, "--n-step", 3),
    *("--snapshot-every", 100, "--learning-rate", 0.001, "--max-episode-steps", 200, "--device", "cpu"),
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
    means = [np.mean(by_name[f"encoder {number}"]["svcca"]) for number in (1, 2)]
    verdict = "layers settle bottom" if means[0] >= means[1] else "layers do not settle bottom"
    assert f"the encoder's {verdict} layers first" in said
    assert "encoder 1" in said
    assert seer("analyze", "svcca", run, "--observations", 60, "--gap", 200, "--out", tmp_path / "wide.png") == 0
    assert "200 steps later" in capsys.readouterr().out


def test_svcca_is_the_same_every_time(run: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        flags = ("--observations", 20, "--json", tmp_path / f"{name}.json", "--out", tmp_path / f"{name}.png")
        assert seer("analyze", "svcca", run, *flags) == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_picture_of_too_many_frames_is_refused(run: Path, tmp_path: Path, capsys: Capture) -> None:
    assert seer("analyze", "attention", run, "--frames", 21, "--out", tmp_path / "many.png") == 2
    assert "--frames 21" in capsys.readouterr().err


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
        (("svcca", "nowhere"), "nowhere is no run"), (("attention", "nowhere"), "nowhere is no run"),
        (("svcca", "RUN", "--gap", 7), "--gap 7"), (("svcca", "RUN", "--gap", 0), "--gap 0"),
        (("svcca", "RUN", "--gap", -10), "--gap -10"), (("svcca", "RUN", "--observations", 1), "--observations 1"),
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
    assert "do not settle bottom layers first; most settled first: encoder 2" in verdict(0.8, 0.9, 0.1)
    assert "not" not in verdict(0.9, 0.8, 0.95)


def frozen(at: int | None, *, layers: int = 2, cut: int = 2) -> Convergence:
    """Encoder 1 settles more slowly until the freeze, as encoder 2; it has no similarity in pairs that reach beyond."""
    learning = {"encoder 1": 0.5, "encoder 2": 0.8, "encoder 3": 0.9, "head value 1": 0.1}
    names = [*list(learning)[:layers], "head value 1"]
    steps = list(range(0, 700, 100))
    found = []
    for number, name in enumerate(names, start=1):
        freezes = number <= cut and name != "head value 1"
        values = [nan if freezes and at is not None and step + 100 > at else learning[name] for step in steps]
        found.append(Layer(name, values, values, 1000, 1, freezes))
    return Convergence(steps, 100, found, at)


def test_frozen_stretches_count_for_nothing() -> None:
    """Frozen at 400 of 700: pairs that start at 0 to 300 count. The deeper layer was ahead in each of them."""
    for cut in (1, 2):
        found = frozen(400, cut=cut)
        assert found.compared() == pytest.approx({"encoder 1": 0.5, "encoder 2": 0.8, "head value 1": 0.1})
        assert found.verdict() == (
            "the encoder's layers do not settle bottom layers first; most settled first: encoder 2, encoder 1, "
            "head value 1 (left out: 3 of 7 pairs, which reach beyond the freeze at step 400)"
        )
    assert "left out" not in frozen(None).verdict()
    assert "left out: 4 of 7 pairs" in frozen(399).verdict()  # 300 to 400 reaches beyond
    _, rows = found.table()
    assert [row[1:] for row in rows] == [
        ["0.500", "0.500", "-", "0.500", "0.500"],
        ["0.800", "0.800", "-", "0.800", "0.800"],
        ["0.100"] * 5,
    ]
    (layer, _, head) = found.to_json()["layers"]
    assert layer["svcca"] == [0.5] * 4 + [None] * 3
    assert head["svcca"] == [0.1] * 7
    again = Convergence.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again.to_json() == found.to_json()
    assert again.table() == found.table()


def test_where_there_is_no_order_none_is_stated() -> None:
    one = "only one layer of the encoder learnt: there is no order to state; most settled first: "
    assert frozen(None, layers=1).verdict() == one + "encoder 1, head value 1"
    transfer = frozen(0, cut=1).verdict()  # the lowest layer is another run's
    assert transfer == one + "encoder 2, head value 1 (left out: encoder 1, frozen all along)"
    assert frozen(0).verdict().startswith("no layer of the encoder learnt from one of these steps to the next")
    assert "settle bottom" in frozen(0, layers=3, cut=1).verdict()


@pytest.mark.parametrize("last", [700, 99_999, 12_345_678])
def test_the_table_fits_eighty_columns(last: int) -> None:
    names = ("encoder 1", "head advantage output", "critic second output")
    steps = [0, 1, 2, 3, 4, last]
    layers = [Layer(name, [0.9876] * 6, [0.1234] * 6, 10, 10) for name in names]
    console = Console(width=80, record=True, file=StringIO())
    console.print(convergence_table(Convergence(steps, 100, layers)))
    said = console.export_text()
    assert all(len(line.rstrip()) <= 80 for line in said.splitlines())
    assert "…" not in said
    assert said.count("0.123") == 3
    assert f"{last:,}" in said
    assert "* " in said


@pytest.mark.slow  # another training; what a freeze changes in the verdict is tested above
def test_svcca_of_a_run_that_froze(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    flags = list(FLAGS)
    flags[flags.index("never")] = 200
    assert seer("train", *flags, "--out", folder) == 0
    capsys.readouterr()
    assert seer("analyze", "svcca", folder, "--observations", 60, "--json", folder / "a.json") == 0
    found = json.loads((folder / "a.json").read_text())
    assert (found["steps"], found["frozen_at"]) == ([0, 100, 200], 200)
    for layer in found["layers"]:
        assert layer["freezes"] == layer["name"].startswith("encoder")
        assert [value is None for value in layer["svcca"]] == [False, False, layer["freezes"]]
    assert "1 of 3 pairs, which reach beyond the freeze at step 200" in " ".join(capsys.readouterr().out.split())


def test_a_dead_layer_is_null_in_the_file() -> None:
    dead = Convergence([0, 5], 10, [Layer("encoder 1", [float("nan"), 0.5], [float("nan")] * 2, 1, 0)])
    (layer,) = json.loads(json.dumps(dead.to_json(), allow_nan=False))["layers"]
    assert (layer["svcca"], layer["cka"]) == ([None, 0.5], [None, None])
