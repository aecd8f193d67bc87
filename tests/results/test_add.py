"""Runs are added to an exhibit by one command, once, and none silently in the place of another."""

import gzip
import itertools
import json
import shutil
from pathlib import Path

import pytest

import add
import evidence
from atari import COMPUTE, table1_block
from finished_runs import ATARI_100K

NAMES = {"never": "rainbow", "frozen": "rainbow-seer"}


@pytest.fixture
def exhibit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(add, "RESULTS", tmp_path / "results")
    folder = tmp_path / "results" / "table1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> list[Path]:
    """Two seeds of Alien with and without a freeze, under the names that the paper's table 1 gives them."""
    folders = []
    for kind, name in NAMES.items():
        for seed in (0, 1):
            folders.append(tmp_path / f"Alien-{name}-{seed}")
            shutil.copytree(ATARI_100K / f"Alien-{kind}-{seed}", folders[-1])
    return folders


def put(*arguments: object) -> None:
    add.main([*map(str, arguments), "--only-data"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        put(*arguments)
    return str(stop.value.code) + capsys.readouterr().err


def test_a_finished_game_comes_into_the_table(exhibit: Path, trained: list[Path]) -> None:
    put("table1", *trained, "--suffix", "small")
    kept = evidence.runs("table1")
    assert list(kept) == [f"Alien-{name}-small-{seed}" for name in ("rainbow-seer", "rainbow") for seed in (0, 1)]
    scores = {}
    for kind, name in NAMES.items():
        scores[kind] = [at_flops(ATARI_100K / f"Alien-{kind}-{seed}", 9e12) for seed in (0, 1)]
        assert [evidence.frozen_at(kept[f"Alien-{name}-small-{seed}"]) for seed in (0, 1)] == [
            None if kind == "never" else 50_000
        ] * 2
    row, _late = [line for line in table1_block(COMPUTE).splitlines() if line.startswith("| Alien")]
    game, seeds, frozen_at, never, frozen, difference, *published = row.strip("| ").split(" | ")
    assert (game, seeds, frozen_at, published) == ("Alien", "2", "50,000", ["992 ± 153", "1,173 ± 239"])
    means = [sum(scores[kind]) / 2 for kind in NAMES]
    assert [never.split(" ± ")[0], frozen.split(" ± ")[0]] == [f"{mean:,.0f}" for mean in means]
    assert difference.startswith(f"{100 * (means[1] / means[0] - 1):+.0f}% (")


def at_flops(folder: Path, budget: float) -> float:
    """Read a score off a straight line between two evaluations, by hand."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    evaluations = [(record["flops"], record["mean"]) for record in records if record["kind"] == "eval"]
    for (a, before), (b, after) in itertools.pairwise(evaluations):
        if a <= budget < b:
            return float(before + (after - before) * (budget - a) / (b - a))
    raise AssertionError(budget)


def test_what_a_run_recorded_is_kept(exhibit: Path, trained: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    put("table1", trained[0])
    file = exhibit / "records" / "Alien-rainbow-0.jsonl.gz"
    recorded = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    assert [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()] == recorded
    monkeypatch.setattr(add, "MOST_TRAIN_RECORDS", 10)
    put("table1", trained[0])
    kinds = [json.loads(line)["kind"] for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert kinds.count("train") == 10
    others = [record["kind"] for record in recorded if record["kind"] != "train"]
    assert [kind for kind in kinds if kind != "train"] == others


def test_adding_twice_changes_nothing_and_others_stay(exhibit: Path, trained: list[Path]) -> None:
    put("table1", *trained[:2])
    first = contents(exhibit)
    put("table1", trained[0])
    assert contents(exhibit) == first
    config = json.loads((trained[0] / "config.json").read_text())
    (trained[0] / "config.json").write_text(json.dumps(config | {"threads": 7}))  # not what sets runs apart
    put("table1", trained[0])
    assert evidence.read_settings(exhibit)[trained[0].name]["threads"] == 7
    put("table1", *trained[2:])
    for name in ("evaluations.csv", "runs.csv"):
        assert set(first[name].splitlines()) < set(contents(exhibit)[name].splitlines())


def test_settings_come_back_whole(exhibit: Path, trained: list[Path]) -> None:
    for folder in trained:  # one by one, so that what runs have in common shrinks
        put("table1", folder)
    stored = evidence.read_settings(exhibit)
    for folder in trained:
        config = dict(add.flatten(json.loads((folder / "config.json").read_text())))
        assert stored[folder.name] == {name: value for name, value in config.items() if name != "out"}


def test_a_later_state_of_a_run_replaces_it(exhibit: Path, trained: list[Path]) -> None:
    (trained[0] / "summary.json").unlink()
    whole = (trained[0] / "metrics.jsonl").read_text()
    lines = whole.splitlines(keepends=True)
    (trained[0] / "metrics.jsonl").write_text("".join(lines[: len(lines) // 2]))
    put("table1", trained[0])
    early = evidence.runs("table1")["Alien-rainbow-0"]
    (trained[0] / "metrics.jsonl").write_text(whole)
    put("table1", trained[0])
    assert evidence.length(early) < evidence.length(evidence.runs("table1")["Alien-rainbow-0"]) == 100_000


def test_another_run_of_the_same_name_is_refused(
    exhibit: Path, trained: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    put("table1", *trained)
    before = contents(exhibit)
    other = trained[0].parent / "other" / trained[0].name
    shutil.copytree(ATARI_100K / "BankHeist-never-0", other)
    said = refusal(capsys, "table1", other)
    assert "Alien-rainbow-0 is there with another env (ALE/Alien-v5, now ALE/BankHeist-v5): give a --suffix" in said
    shutil.copytree(ATARI_100K / "Alien-never-1", again := trained[0].parent / "again" / "Alien-rainbow-0")
    config = json.loads((again / "config.json").read_text())
    (again / "config.json").write_text(json.dumps(config | {"seed": 0}))
    assert "Alien-rainbow-0 is there with another evaluation at step 10000" in refusal(capsys, "table1", again)
    assert "there is no exhibit tabel1: make the folder" in refusal(capsys, "tabel1", trained[0])
    assert "have the same name" in refusal(capsys, "table1", trained[1], again.rename(again.parent / trained[1].name))
    assert contents(exhibit) == before
