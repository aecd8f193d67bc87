"""The report in a real browser: at a desk, on a phone, on paper."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finished_runs import ATARI_100K
from seer.paper.exhibits import EXHIBITS
from seer.paper.results import exhibit_results
from seer.reporting.report import write_page

pytestmark = pytest.mark.slow  # seconds each; test_report.py reads the same page as text
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


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
    point = chart.locator(".point").nth(9).bounding_box()  # the last one of the first group
    place = (point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    (tab.touchscreen.tap if width < 500 else tab.mouse.move)(*place)
    tip = tab.locator("#tip")
    assert tip.inner_text() == "Rainbow + SEER, freeze at 50,000: 680.0 ± 18.4 at 100,000 steps"
    box = tip.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    assert complaints == []
    context.close()


def test_a_phone_shows_every_cell(browser: Any, tmp_path: Path) -> None:
    """A score table with the paper's column: nothing is cut, hidden or behind a scroll bar, and each cell is named."""
    exhibit = EXHIBITS["table1"].only(("Alien",))
    for group, kind in (("rainbow", "never"), ("rainbow-seer", "frozen")):
        shutil.copytree(ATARI_100K / f"Alien-{kind}-0", tmp_path / "runs" / f"Alien-{group}-0")
    trials = exhibit.trials(seeds=1, root=tmp_path, common={})
    results = exhibit_results(exhibit, trials, root=tmp_path, rows=[], fraction=0.2)
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.goto(write_page(results, out=tmp_path / "r.html").as_uri(), timeout=120_000)
    tab.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    cells = tab.evaluate(
        """() => [...document.querySelectorAll("td")].map((cell) => {
          const box = cell.querySelector("span").getBoundingClientRect();
          const name = getComputedStyle(cell, "::before").content;
          return [cell.innerText, name, box.left, box.right, cell.scrollWidth - cell.clientWidth];
        })"""
    )
    assert "1,172.6 ± 239.0" in [text for text, *_ in cells]
    assert len(cells) > 100
    for text, name, left, right, hidden in cells:
        assert 0 <= left <= right <= 390, text
        assert hidden <= 0, text
        assert name not in ("none", "normal"), text
    assert tab.evaluate("[...document.querySelectorAll('.wide')].every((each) => each.scrollWidth <= each.clientWidth)")
    tab.close()


def test_the_page_prints(browser: Any, written: Path, tmp_path: Path) -> None:
    tab = browser.new_page()
    tab.goto(written.as_uri(), timeout=120_000)
    tab.pdf(path=tmp_path / "report.pdf", format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "1cm"))
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 6
    tab.close()
