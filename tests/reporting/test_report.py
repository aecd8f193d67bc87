"""Results and the report: right numbers from the runs' own records, on a page that needs nothing else."""

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finished_runs import ATARI_100K, CONTROL_30K
from seer.envs.registry import normalized
from seer.envs.scores import ATARI
from seer.errors import SettingError
from seer.paper.exhibits import EXHIBITS
from seer.paper.results import exhibit_results
from seer.reporting.aggregates import aggregate
from seer.reporting.report import page, write_report
from seer.reporting.results import Column, Results
from seer.sweeps.grid import short_name
from seer.sweeps.manifest import Manifest
from seer.sweeps.trial import Entry
from tiny_run import seer

# Results -----------------------------------------------------------------------------------------------------------


def evaluations(name: str) -> list[dict[str, Any]]:
    records = map(json.loads, (ATARI_100K / name / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == "eval"]


def test_scores_at_the_end_and_at_equal_flops(results: Results) -> None:
    frozen, never = (group for group in results.groups if group.environment == "ALE/Alien-v5")
    at_end, at_equal = results.columns
    for group, kind in ((frozen, "frozen"), (never, "never")):
        assert results.scores(group, at_end) == [evaluations(f"Alien-{kind}-{seed}")[-1]["mean"] for seed in (0, 1)]
    assert results.scores(frozen, at_equal) == results.scores(frozen, at_end)  # the cheaper one, at its own end
    budget = evaluations("Alien-frozen-0")[-1]["flops"]
    by_hand = []
    for seed in (0, 1):
        run = evaluations(f"Alien-never-{seed}")
        ((before, after),) = [(a, b) for a, b in itertools.pairwise(run) if a["flops"] <= budget < b["flops"]]
        share = (budget - before["flops"]) / (after["flops"] - before["flops"])
        by_hand.append(before["mean"] + share * (after["mean"] - before["mean"]))
    assert results.scores(never, at_equal) == pytest.approx(by_hand)
    spread = results.spread(never, at_equal)
    assert spread is not None
    assert (spread.mean, spread.std) == (pytest.approx(np.mean(by_hand)), pytest.approx(np.std(by_hand, ddof=1)))


def test_a_budget_that_a_run_never_reached_has_no_score(results: Results) -> None:
    (group, *_) = results.groups
    assert results.scores(group, Column("", flops=1e20)) == []
    assert results.spread(group, Column("", flops=1e20)) is None
    assert results.aggregates(Column("", flops=1e20)) == []
    assert "No aggregates: no group has a score here." in page(
        Results("", [], results.groups, {}, (), [Column("x", flops=1e20)]), start=Path()
    )
    for budget in (1.0, 1e20):  # before the first evaluation, and beyond the end
        text = page(Results("", [], results.groups, {}, (), [Column("x", flops=budget)]), start=Path())
        assert "not evaluated there" in text
        assert "not reached" not in text


def test_aggregates_start_with_what_never_freezes(results: Results) -> None:
    (found,) = results.aggregates(results.columns[0])
    never, frozen = found.rows
    assert found.environments == ["ALE/Alien-v5", "ALE/BankHeist-v5"]
    assert (never.label, never.better) == ("Rainbow, never frozen", None)
    assert frozen.label == "Rainbow + SEER, freeze at 50,000"
    alien = [(score - 227.8) / (7127.7 - 227.8) for score in (1306.0, 946.0)]
    heist = [(score - 14.2) / (753.1 - 14.2) for score in (20.0, 60.0)]
    assert never.mean is not None
    assert never.mean.value == pytest.approx(np.mean(sorted(alien + heist)[1:-1]))
    assert never.mean.low <= never.mean.value <= never.mean.high
    assert frozen.better is not None
    # Frozen against never: 693 and 667 lose to 1306 and 946; 50 and 32 against 60 and 20 win two pairs of four.
    assert float(frozen.better.value) == pytest.approx((0 + 2 / 4) / 2)


def test_a_profile_has_its_bootstrap_interval(results: Results) -> None:
    """Four runs, two a game: resampled within each game, so where one of a game's two lies above, in a quarter of the
    resamples both do and in a quarter none."""
    (found,) = results.aggregates(results.columns[0])
    profile = found.rows[0].profile
    assert profile is not None
    scores = [[(s - 227.8) / (7127.7 - 227.8) for s in (1306.0, 946.0)], [(s - 14.2) / 738.9 for s in (20.0, 60.0)]]
    for place, threshold in enumerate(found.thresholds):
        above = [sum(score > threshold for score in game) for game in scores]
        low = np.mean([{0: 0.0, 1: 0.0, 2: 1.0}[count] for count in above])
        high = np.mean([{0: 0.0, 1: 1.0, 2: 1.0}[count] for count in above])
        bounds = [float(bound[place]) for bound in (profile.low, profile.value, profile.high)]
        assert bounds == [low, np.mean(above) / 2, high]
    assert (profile.low < profile.high).any()
    text = page(results, start=Path())
    assert re.search(r"Rainbow, never frozen: \d+% \(0% to \d+%\) of runs above", text)
    drawn = text.partition("Performance profile")[2].partition("</svg>")[0]
    for band in re.findall(r'class="band">\s*<path d="M([^"]*)z', drawn):
        points = band.split("L")
        upper, lower = points[: len(points) // 2], points[len(points) // 2 :][::-1]
        assert upper != lower


# Scores by environment and group, by hand; A and B everywhere but in the last one.
SCORES = {
    "ALE/Alien-v5": {"A": [300.0, 500.0], "B": [400.0, 900.0]},
    "MiniGrid-v0": {"A": [1.0, 2.0], "B": [3.0, 4.0]},
    "ALE/Pong-v5": {"A": [-20.0, 1.0], "B": [5.0], "C": [14.6]},
    "dm_control/walker-walk-v0": {"D": [100.0, 300.0], "E": [500.0]},
    "dm_control/hopper-hop-v0": {"D": [50.0], "E": []},
}


def test_groups_are_compared_where_they_are_shared() -> None:
    found = {
        tuple(row.label for row in each.rows): each for each in aggregate(SCORES, order=lambda label: label != "A")
    }
    assert {labels: [short_name(env) for env in each.environments] for labels, each in found.items()} == {
        ("A", "B"): ["Alien", "MiniGrid", "Pong"],
        ("A", "B", "C"): ["Pong"],
        ("D", "E"): ["walker-walk"],
    }
    both = found["A", "B"]
    assert both.unknown == ["MiniGrid-v0"]
    better, mean = both.rows[1].better, both.rows[0].mean
    assert better is not None
    assert mean is not None
    assert float(better.value) == pytest.approx((3 / 4 + 1 + 1) / 3)  # no reference is needed to win
    scaled = [(300 - 227.8) / 6899.9, (500 - 227.8) / 6899.9, (-20 + 20.7) / 35.3, (1 + 20.7) / 35.3]
    assert mean.value == pytest.approx(np.mean(sorted(scaled)[1:3]))
    walker = found["D", "E"].rows[0].mean
    assert walker is not None
    assert walker.value == pytest.approx(0.2)


def test_without_references_there_is_still_a_probability() -> None:
    (only,) = aggregate({"MiniGrid-v0": SCORES["MiniGrid-v0"]}, order=str)
    assert only.unknown == only.environments
    assert [(row.mean, row.profile) for row in only.rows] == [(None, None)] * 2
    assert only.rows[1].better is not None
    assert float(only.rows[1].better.value) == 1


def test_sets_of_environments_with_groups_of_their_own_each_have_aggregates(tmp_path: Path) -> None:
    """Atari and Control in one report, as in figures 9 and 11."""
    folders = [*sorted(ATARI_100K.glob("*-[01]/")), *sorted(CONTROL_30K.glob("*/"))]
    text = write_report(folders, out=tmp_path / "both.html").read_text()
    assert "Over Alien, BankHeist, which these groups share." in text
    assert text.count("Performance profile") >= 2
    assert "Over cartpole-swingup, walker-walk, which these groups share." in text


def test_a_page_says_why_there_is_no_aggregate(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(ATARI_100K / "Alien-never-0", run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"env": "MiniGrid-v0"}))
    text = write_report([run], out=tmp_path / "a.html").read_text()
    assert "No interquartile mean, no profile: MiniGrid, as no reference scores" in text
    assert "No probability of improvement: no other group" in text
    assert "<td>None" not in text


def test_a_run_that_has_not_finished_is_named_where_its_score_is_averaged_with_those_at_the_end(tmp_path: Path) -> None:
    done, going = tmp_path / "done", tmp_path / "going"
    for folder, seed in ((done, 0), (going, 1)):
        shutil.copytree(ATARI_100K / f"Alien-never-{seed}", folder)
    whole = write_report([done, going], out=tmp_path / "whole.html").read_text()
    (going / "summary.json").unlink()
    records = (going / "metrics.jsonl").read_text().splitlines(keepends=True)
    cut = max(n for n, line in enumerate(records) if json.loads(line)["kind"] == "eval")
    (going / "metrics.jsonl").write_text("".join(records[:cut]))
    step = [each["step"] for each in evaluations("Alien-never-1")][-2]
    text = write_report([done, going], out=tmp_path / "part.html").read_text()
    said = f"Not finished, so scored by their last evaluation so far: going (step {step:,})."
    assert (text.count(said), whole.count("Not finished, so scored")) == (1, 0)


def test_references_are_those_of_the_field() -> None:
    """Of Agent57's table: the best known score of a few games by hand, and what isn't Atari's Pong has none."""
    for env, score, expected in (
        ("ALE/Breakout-v5", 30.5, 1), ("ALE/Breakout-v5", 1.7, 0), ("ALE/Pong-v5", 21.0, 41.7 / 35.3),
        ("ALE/Skiing-v5", -4336.9, 1), ("dm_control/walker-walk-v0", 950.0, 0.95),
    ):  # fmt: skip
        assert normalized(env, score) == pytest.approx(expected)
    for env in ("ALE/VideoPinball-v5", "Pong-v0", "CarRacing-v3"):
        assert normalized(env, 1.0) is None
    assert len(ATARI) == 56
    assert all(random < human for random, human in ATARI.values())


def test_a_setting_an_older_run_does_not_name_is_no_difference(tmp_path: Path) -> None:
    older, newer = tmp_path / "older", tmp_path / "newer"
    for folder, seed in ((older, 0), (newer, 1)):
        shutil.copytree(ATARI_100K / f"Alien-never-{seed}", folder)
    config = json.loads((newer / "config.json").read_text())
    (newer / "config.json").write_text(json.dumps(config | {"newer_setting": "five"}))
    settings = write_report([older, newer], out=tmp_path / "a.html").read_text().partition("<h2>Settings</h2>")[2]
    differing, _, shared = settings.partition("<details>")
    assert "newer_setting" not in differing
    assert ">five</span>" in shared


def trial(name: str, env: str, group: str, seed: int) -> Entry:
    return Entry(name, env, group, seed)


def test_an_exhibit_stands_beside_the_published_numbers_and_hides_no_run(tmp_path: Path) -> None:
    exhibit = EXHIBITS["table1"].only(("Alien",))
    trials = exhibit.trials(seeds=2, root=tmp_path, common={})
    for seed in (0, 1):
        for group, kind in (("rainbow", "never"), ("rainbow-seer", "frozen")):
            shutil.copytree(ATARI_100K / f"Alien-{kind}-{seed}", tmp_path / "runs" / f"Alien-{group}-{seed}")
    (tmp_path / "runs" / "Alien-rainbow-0.07GB-0").mkdir()
    Manifest(tuple(trials), {"Alien-rainbow-0.07GB-1": "no luck"}).write(tmp_path / "table1.json")
    results = exhibit_results(exhibit, trials, root=tmp_path, rows=[("scale", "a fifth", "all")], fraction=0.2)
    assert results.missing == {
        "Alien-rainbow-0.07GB-0": "not finished",
        "Alien-rainbow-0.07GB-1": "no luck",
        "Alien-rainbow-seer-0.07GB-0": "not started",
        "Alien-rainbow-seer-0.07GB-1": "not started",
    }
    assert [column.flops for column in results.columns] == [pytest.approx(9e12), None]
    text = page(results, start=tmp_path)
    for words in (">a fifth</span>", "4 of 8 runs", "no luck", "992.0 ± 152.7", "1,172.6 ± 239.0", "9e+12 FLOPs",
                  "score at 45e12 FLOPs", 'href="runs/Alien-rainbow-0/"'):  # fmt: skip
        assert words in text
    group, column = results.groups[0], results.columns[0]
    scored = next(row for row in text.split("<tr") if str(results.spread(group, column)) in row)
    share = (np.mean(results.scores(group, column)) - 227.8) / (7127.7 - 227.8)
    assert "normalised" in text
    assert f">{share:.3f}<" in scored


def test_sweeps_and_runs_can_be_mixed(tmp_path: Path) -> None:
    shutil.copytree(ATARI_100K / "Alien-never-0", tmp_path / "sweep" / "runs" / "a")
    Manifest((trial("a", "e", "x", 0), trial("b", "e", "x", 1))).write(tmp_path / "sweep" / "sweep.json")
    results = Results.of_folders([tmp_path / "sweep", ATARI_100K / "Alien-frozen-0"], title="t")
    assert sorted(group.label for group in results.groups) == [
        "Rainbow + SEER, freeze at 50,000",
        "Rainbow, never frozen",
    ]
    assert results.missing == {"b": "not started"}


def test_what_cannot_be_reported_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([], "FOLDERS"),
        ([tmp_path], "is no run"),
        ([ATARI_100K / "Alien-never-0", "--out", tmp_path / "x.pdf"], "end in .html"),
        ([ATARI_100K / "Alien-never-0", "--out", "/proc/x.html"], "can't be written"),
    ):
        assert seer("report", *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said.lower() in line.lower()
    with pytest.raises(SettingError, match="no run to report"):
        write_report([], out=tmp_path / "r.html")


# The page ----------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(written: Path) -> None:
    text = written.read_text()
    assert "Two games &amp; two groups" in text
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]+)', text)
    assert {link for link in links if not link.startswith(("data:", "../", "/", "#"))} == set()
    assert "http" not in re.sub(r"<a href=[^>]*>", "", text)
    assert "<title>Rainbow, never frozen: 1,126.0 ± 254.6 at 100,000 steps</title>" in text  # hover without a script
