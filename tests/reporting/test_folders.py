"""Folders of sweeps and exhibits: their finished runs, called as their variants are."""

import json
from pathlib import Path
from typing import Any

import pytest

from drawn_runs import (
    make_run,
    read_groups,
)
from seer.reporting.folders import read_folders
from seer.reporting.results import Results
from seer.sweeps.manifest import Manifest
from seer.sweeps.trial import Entry
from tiny_run import seer


@pytest.fixture
def exhibits(tmp_path: Path) -> Path:
    """What `seer reproduce` leaves after two exhibits that share a run, one other still missing."""
    root = tmp_path / "paper-toy"
    trials = []
    for seed, finished in ((0, True), (1, True), (2, False)):
        folder = make_run(root, at="never", seed=seed)
        name = f"Alien-rainbow-{seed}"
        (root / "runs").mkdir(exist_ok=True)
        folder.rename(root / "runs" / name)
        if finished:
            (root / "runs" / name / "summary.json").write_text("{}")
        trials.append(Entry(name, "ALE/Alien-v5", "rainbow", seed))
    Manifest(tuple(trials[:2])).write(root / "fig3.json")
    Manifest(tuple(trials[1:]), {"Alien-rainbow-2": "no luck"}).write(root / "table1.json")
    (root / "notes.json").write_text('{"by": "me"}')
    return root


def test_a_folder_of_exhibits_means_all_its_finished_runs(exhibits: Path, tmp_path: Path, capsys: Any) -> None:
    runs, missing = read_folders([exhibits, exhibits / "runs" / "Alien-rainbow-0"])
    assert sorted(run.settings["seed"] for run in runs) == [0, 1]
    assert missing == {"Alien-rainbow-2": "no luck"}
    for command, out in (("plot", "a.png"), ("report", "a.html")):
        assert seer(command, exhibits, "--out", tmp_path / out) == 0
        assert (tmp_path / out).stat().st_size > 10_000
    assert "not drawn: Alien-rainbow-2: no luck" in capsys.readouterr().out
    assert "no luck" in (tmp_path / "a.html").read_text()


def test_a_variant_that_freezes_elsewhere_at_another_step_has_its_sweeps_name(tmp_path: Path) -> None:
    """The paper's T_f differ by environment; the variant is one, so that its games are aggregated."""
    trials = []
    for env, at in (("Alien", "2000"), ("Alien", "never"), ("Qbert", "3000"), ("Qbert", "never")):
        variant = "never" if at == "never" else "seer"
        folder = make_run(tmp_path / "made", env=f"ALE/{env}-v5", at=at)
        (folder / "summary.json").write_text("{}")
        (tmp_path / "runs").mkdir(exist_ok=True)
        folder.rename(tmp_path / "runs" / f"{env}-{variant}-0")
        trials.append(Entry(f"{env}-{variant}-0", f"ALE/{env}-v5", variant, 0))
    Manifest(tuple(trials)).write(tmp_path / "sweep.json")
    results = Results.of_folders([tmp_path], title="x")
    assert [(group.environment[4:9], group.label) for group in results.groups] == [
        ("Alien", "seer"), ("Alien", "never"), ("Qbert", "seer"), ("Qbert", "never"),
    ]  # fmt: skip
    (aggregate,) = results.aggregates(results.columns[0])
    assert len(aggregate.environments) == 2


@pytest.mark.parametrize("content", ['{"trials": [', '{"trials": 3}', '{"title": "x", "trials": [{"name": "a"}]}'])
def test_a_damaged_record_is_one_line(content: str, exhibits: Path, capsys: Any) -> None:
    (exhibits / "fig3.json").write_text(content)
    assert seer("plot", exhibits) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "fig3.json is no record of a sweep" in line


def test_a_folder_without_a_finished_run_is_one_line(exhibits: Path, tmp_path: Path, capsys: Any) -> None:
    for summary in exhibits.rglob("summary.json"):
        summary.unlink()
    assert seer("plot", exhibits, "--out", tmp_path / "a.png") == 2
    assert "none of the 3 runs" in capsys.readouterr().err
    for manifest in exhibits.glob("*.json"):
        manifest.unlink()
    assert seer("plot", exhibits / "runs", "--out", tmp_path / "a.png") == 2
    assert "holds 3 runs: give" in capsys.readouterr().err


def begun_with(root: Path, source: str, *, seed: int) -> Path:
    """A run that began with the encoder of another."""
    folder = make_run(root, at="0", seed=seed)
    config = json.loads((folder / "config.json").read_text())
    config["freeze"]["encoder_from"] = source
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def seeds_of(folders: list[Path]) -> list[list[int]]:
    return [[run.settings["seed"] for run in group.runs] for group in read_groups(folders)]


def test_seeds_of_a_transfer_stay_together(tmp_path: Path) -> None:
    """Each seed starts from the encoder of its own pretraining; another pretraining is another group."""
    folders = []
    for length in (20_000, 40_000):
        for seed in (0, 1):
            source = f"/there/runs/walker-stand-curl-for-{length}-{seed}"
            folders.append(begun_with(tmp_path / str(length), source, seed=seed))
    assert seeds_of(folders) == [[0, 1], [0, 1]]
    assert read_groups(folders)[0].label.endswith("encoder from walker-stand-curl-for-20000")


def test_seeds_that_begin_with_the_same_run_stay_together(tmp_path: Path) -> None:
    """Also the seed that the other run happens to have."""
    folders = [begun_with(tmp_path / "pong", "runs/pong-0", seed=seed) for seed in (0, 1, 2)]
    folders += [begun_with(tmp_path / "alien", "runs/alien-1", seed=seed) for seed in (0, 1, 2)]
    assert seeds_of(folders) == [[0, 1, 2], [0, 1, 2]]
    assert [group.label.rpartition(" ")[2] for group in read_groups(folders)] == ["pong-0", "alien-1"]


def test_snapshots_of_one_step_of_two_runs_are_told_apart(tmp_path: Path) -> None:
    """Their files have the same name."""
    folders = []
    for name in ("fast", "slow"):
        for seed in (0, 1):
            source = f"runs/{name}-{seed}/snapshots/step-000020000.safetensors"
            folders.append(begun_with(tmp_path / name, source, seed=seed))
    assert seeds_of(folders) == [[0, 1], [0, 1]]
    assert read_groups(folders)[0].label.endswith("encoder from fast/snapshots/step-000020000.safetensors")
