"""Results and the report: right figures from the runs' own records, and a page that a real browser opens."""

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seer.errors import SettingError
from seer.experiments.charts import ticks
from seer.experiments.paper import EXHIBITS
from seer.experiments.report import page, write_page, write_report
from seer.experiments.results import Column, Results
from seer.experiments.trials import Manifest, Trial
from tiny_run import seer

ATARI_100K = Path(__file__).parents[1] / "results" / "atari-100k"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def results() -> Results:
    return Results.of_folders(sorted(ATARI_100K.glob("*-[01]/")), title="Two games & two arms")


@pytest.fixture(scope="module")
def written(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(results, out=tmp_path_factory.mktemp("report") / "report.html")


# Results -----------------------------------------------------------------------------------------------------------


def evaluations(name: str) -> list[dict[str, Any]]:
    records = map(json.loads, (ATARI_100K / name / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == "eval"]


def test_scores_at_the_end_and_at_equal_flops(results: Results) -> None:
    frozen, never = (arm for arm in results.arms if arm.environment == "ALE/Alien-v5")
    at_end, at_equal = results.columns
    for arm, kind in ((frozen, "frozen"), (never, "never")):
        assert results.scores(arm, at_end) == [evaluations(f"Alien-{kind}-{seed}")[-1]["mean"] for seed in (0, 1)]
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
    (arm, *_) = results.arms
    assert results.scores(arm, Column("", flops=1e20)) == []
    assert results.spread(arm, Column("", flops=1e20)) is None
    assert results.aggregates(Column("", flops=1e20)) == []
    assert "not reached" in page(Results("", [], results.arms, {}, (), [Column("x", flops=1e20)]), start=Path())


def test_aggregates_start_with_what_never_freezes(results: Results) -> None:
    (first, iqm, nothing), (second, _, better) = results.aggregates(results.columns[0])
    assert (first, nothing) == ("Rainbow, never frozen", None)
    assert second == "Rainbow + SEER, freeze at 50,000"
    alien = [(score - 227.8) / (7127.7 - 227.8) for score in (1306.0, 946.0)]
    heist = [(score - 14.2) / (753.1 - 14.2) for score in (20.0, 60.0)]
    assert iqm.value == pytest.approx(np.mean(sorted(alien + heist)[1:-1]))
    assert iqm.low <= iqm.value <= iqm.high
    assert better is not None
    # Frozen against never: 693 and 667 lose to 1306 and 946; 50 and 32 against 60 and 20 win two pairs of four.
    assert float(better.value) == pytest.approx((0 + 2 / 4) / 2)


def trial(name: str, env: str, arm: str, seed: int) -> Trial:
    return Trial(name, env, arm, seed, ())


def test_an_exhibit_stands_beside_the_published_numbers_and_hides_no_run(tmp_path: Path) -> None:
    exhibit = EXHIBITS["table1"].only(("Alien",))
    trials = exhibit.trials(seeds=2, root=tmp_path, common={})
    for seed in (0, 1):
        for arm, kind in (("rainbow", "never"), ("rainbow-seer", "frozen")):
            shutil.copytree(ATARI_100K / f"Alien-{kind}-{seed}", tmp_path / "runs" / f"Alien-{arm}-{seed}")
    (tmp_path / "runs" / "Alien-rainbow-0.07GB-0").mkdir()
    Manifest("t", tuple(trials), {"Alien-rainbow-0.07GB-1": "no luck"}).write(tmp_path / "table1.json")
    results = Results.of_exhibit(exhibit, trials, root=tmp_path, statement=["Scale: a fifth."], fraction=0.2)
    assert results.missing == {
        "Alien-rainbow-0.07GB-0": "not finished",
        "Alien-rainbow-0.07GB-1": "no luck",
        "Alien-rainbow-seer-0.07GB-0": "not started",
        "Alien-rainbow-seer-0.07GB-1": "not started",
    }
    assert [column.flops for column in results.columns] == [pytest.approx(9e12), None]
    text = page(results, start=tmp_path)
    for words in ("Scale: a fifth.", "4 of 8 runs", "no luck", "992.0 ± 152.7", "1,172.6 ± 239.0", "9e+12 FLOPs",
                  "score at 45e12 FLOPs", 'href="runs/Alien-rainbow-0/"'):  # fmt: skip
        assert words in text


def test_sweeps_and_runs_can_be_mixed(tmp_path: Path) -> None:
    shutil.copytree(ATARI_100K / "Alien-never-0", tmp_path / "sweep" / "runs" / "a")
    Manifest("t", (trial("a", "e", "x", 0), trial("b", "e", "x", 1))).write(tmp_path / "sweep" / "sweep.json")
    results = Results.of_folders([tmp_path / "sweep", ATARI_100K / "Alien-frozen-0"], title="t")
    assert sorted(arm.label for arm in results.arms) == ["Rainbow + SEER, freeze at 50,000", "Rainbow, never frozen"]
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


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 100_000), (-20, 103.5), (3, 3), (0, 0), (1.2e13, 2.9e13)])
def test_ticks_are_round_and_cover(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 8
    assert np.allclose(np.diff(marks), marks[1] - marks[0])


# The page ----------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(written: Path) -> None:
    text = written.read_text()
    assert "Two games &amp; two arms" in text
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]+)', text)
    assert {link for link in links if not link.startswith(("data:", "../", "/"))} == set()
    assert "http" not in re.sub(r"<a href=[^>]*>", "", text)
    assert "<title>Rainbow, never frozen: 1,126.0 ± 254.6 at 100,000 steps</title>" in text  # hover without a script


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"], timeout=120_000
        )
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 844)], ids=["desk", "phone"])
def test_a_real_browser_shows_the_page(browser: Any, written: Path, width: int, height: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=width < 500)
    tab = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(written.as_uri(), timeout=120_000)
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [written.as_uri()]
    assert tab.locator("svg.chart").count() == 8  # two profiles, two games by steps, by FLOPs and by seconds
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing scrolls sideways but tables
    chart = tab.locator("svg.chart[aria-label='ALE/Alien-v5']").first
    chart.scroll_into_view_if_needed()
    shown = chart.bounding_box()
    assert 0 < shown["width"] <= width
    point = chart.locator(".point").nth(9).bounding_box()  # the last one of the first arm
    place = (point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    (tab.touchscreen.tap if width < 500 else tab.mouse.move)(*place)
    tip = tab.locator("#tip")
    assert tip.inner_text() == "Rainbow + SEER, freeze at 50,000: 680.0 ± 18.4 at 100,000 steps"
    box = tip.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    assert complaints == []
    context.close()


def test_the_page_prints(browser: Any, written: Path, tmp_path: Path) -> None:
    tab = browser.new_page()
    tab.goto(written.as_uri(), timeout=120_000)
    tab.pdf(path=tmp_path / "report.pdf", format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "1cm"))
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 6
    tab.close()
