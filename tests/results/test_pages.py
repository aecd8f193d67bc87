"""Pages and pictures show what the tables of runs say, and a difference anywhere is found."""

import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import evidence
import page
from compare import Comparison, Together, by_environment
from evidence import EVALUATIONS, RESULTS, at_flops, late_score, late_score_at_flops, runs, score_at_flops
from seer.errors import SettingError

ROOT = RESULTS.parent
DOES_IT_WORK = Path("docs", "does_it_work.md")
TABLE1 = Path("results", "table1", EVALUATIONS)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy tables, pages and pictures; what is computed is computed from the copy."""
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("records", "*.py", "__pycache__"))
    for file in [*page.pages(ROOT), *(ROOT / name for name in page.PICTURES)]:
        (tmp_path / file.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / file.relative_to(ROOT))
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "results")
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_pages_and_pictures_show_what_the_tables_say() -> None:
    assert list(page.differences(ROOT)) == []


def test_every_block_stands_on_a_page() -> None:
    """But the short form, which is printed for the README."""
    marked = {found["name"] for file in page.pages(ROOT) for found in page.MARKED.finditer(file.read_text())}
    assert marked | {"does-it-work"} == set(page.BLOCKS)
    for file in page.pages(ROOT):
        text = file.read_text()
        marks = [name for name in re.findall(r"<!-- ([\w-]+): (?:begin|end)", text) if name in page.BLOCKS]
        assert len(marks) == 2 * len(page.MARKED.findall(text)), file  # each is one of a pair


def test_numbers_of_the_page_stand_between_marks() -> None:
    """So that none is written by hand."""
    prose = page.MARKED.sub("", (ROOT / DOES_IT_WORK).read_text())
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`|et al\. \d{4}|figures? \d+|table \d", "", prose)
    assert re.findall(r".*\d.*", prose.replace("(95%)", "")) == []


def test_another_number_or_row_is_found_and_brought_up_to_date(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of a page, a score of a table, and an early evaluation that no page shows."""
    change(copy / DOES_IT_WORK, "608 ± 55", "609 ± 55")
    change(copy / "results" / "third-party" / EVALUATIONS, ",-1200", ",-1201")
    row = re.compile(r"^(Qbert-rainbow-seer-0.07GB-small-1,.*,100000,.*?,.*?,)(.*?),", re.MULTILINE)
    (copy / TABLE1).write_text(row.sub(r"\g<1>9000.0,", (copy / TABLE1).read_text()))
    shown = "isn't what the tables say"
    assert list(page.differences(copy)) == [
        *(f"docs/does_it_work.md: {name} {shown}" for name in ("claims", "equal-compute", "equal-memory", "data")),
        f"results/table1/README.md: equal-memory {shown}",
        *(f"{name} was drawn from other tables" for name, each in page.PICTURES.items() if "table1" in each.exhibits),
    ]
    monkeypatch.setattr(page, "PICTURES", {name: page.PICTURES[name] for name in ["results/table1/flops.png"]})
    page.update()
    assert list(page.differences(copy)) == []
    assert "608 ± 55" in (copy / DOES_IT_WORK).read_text()
    assert "3,338 ± " in (copy / DOES_IT_WORK).read_text()


def test_a_run_without_its_costs_is_named(copy: Path) -> None:
    """Without them a frozen run would pass for one that never froze."""
    file = copy / "results" / "table1" / evidence.RUNS
    file.write_text(
        "".join(
            line
            for line in file.read_text().splitlines(keepends=True)
            if not line.startswith("Alien-rainbow-seer-small-2")
        )
    )
    with pytest.raises(SettingError, match=r"lacks Alien-rainbow-seer-small-2: add that run by results/add\.py"):
        runs("table1")


@pytest.mark.parametrize("exhibit", sorted(file.parent.name for file in RESULTS.glob(f"*/{EVALUATIONS}")))
def test_tables_are_what_the_runs_recorded(exhibit: str) -> None:
    """So that a row changed by hand is found, whatever the pages were made to say."""
    recorded = {file.name.removesuffix(".jsonl.gz"): file for file in (RESULTS / exhibit / "records").iterdir()}
    kept = runs(exhibit)
    assert set(recorded) == set(kept)
    for name, file in recorded.items():
        records = list(map(json.loads, gzip.decompress(file.read_bytes()).splitlines()))
        for kind, columns in (("eval", ("step", "flops", "mean", "std", "episodes")), ("freeze", ("step", "flops"))):
            own = [[record[column] for column in columns] for record in records if record["kind"] == kind]
            shown = [[record[column] for column in columns] for record in kept[name].of_kind(kind)]
            assert np.array(shown) == pytest.approx(np.array(own), abs=6e-4), name


# Comparisons -----------------------------------------------------------------------------------------------------


def test_scores_are_those_of_a_slow_reading() -> None:
    """Read line by line from the table: late means, and scores at a number of FLOPs on a straight line."""
    name, budget = "Qbert-rainbow-small-2", 9e12
    cells = [line.split(",") for line in (ROOT / TABLE1).read_text().splitlines()]
    rows = [(int(row[5]), float(row[6]), float(row[8])) for row in cells if row[0] == name]
    late = [score for step, _, score in rows if 60_000 <= step <= 100_000]
    after = next(place for place, (_, flops, _) in enumerate(rows) if flops >= budget)
    (_, flops_a, a), (_, flops_b, b) = rows[after - 1], rows[after]
    run = runs("table1")[name]
    assert late_score(run, 100_000) == pytest.approx(sum(late) / len(late))
    assert score_at_flops(run, budget) == pytest.approx(a + (b - a) * (budget - flops_a) / (flops_b - flops_a))
    steps = (budget - flops_a) / (flops_b - flops_a) * (rows[after][0] - rows[after - 1][0]) + rows[after - 1][0]
    assert at_flops(run, budget, "step") == pytest.approx(steps)
    last = [score for _, flops, score in rows[: after + 1] if flops >= 5.4e12]
    assert late_score_at_flops(run, budget) == pytest.approx(sum(last) / len(last))
    assert late_score_at_flops(run, 1e15) is None
    assert late_score(run, 100_001) is None
    assert score_at_flops(run, 1e15) is None


def test_a_comparison_pairs_the_runs_of_an_environment() -> None:
    every = runs("table1").values()
    never, frozen = ([run for run in every if run.label == name] for name in ("rainbow-small", "rainbow-seer-small"))
    one, two = by_environment(never, [run for run in frozen if run.settings["env"] == "ALE/Alien-v5"], last)
    assert (one.game, one.seeds, one.steps_of_freeze) == ("Alien", 3, "10,000")
    assert [run.settings["seed"] for run in one.never] == [0, 1, 2]
    assert (two.game, two.seeds, two.difference) == ("Qbert", 0, None)
    assert isinstance(one, Comparison)
    scores = one.scores
    assert one.difference is not None
    assert one.difference.value == pytest.approx(sum(scores[1]) / sum(scores[0]) - 1)
    assert one.difference.low <= one.difference.value <= one.difference.high


def test_an_environment_of_one_seed_is_left_out_beside_those_of_several() -> None:
    """Drawn again and again, its one pair would narrow the intervals of all."""
    every = [run for run in runs("table1").values() if "BankHeist" not in run.settings["env"]]
    sides = ([run for run in every if run.label == name] for name in ("rainbow-small", "rainbow-seer-small"))
    alien, qbert = by_environment(*sides, last)
    alone = replace(qbert, never=qbert.never[:1], frozen=qbert.frozen[:1])
    several, mixed = Together.of([alien]), Together.of([alien, alone])
    assert several is not None
    assert mixed == replace(several, left_out=("Qbert",))
    assert several.sentence.startswith("Together: ")
    assert mixed.sentence == several.sentence.replace("Together", "Together without Qbert (one seed)")
    assert mixed.improvement == several.improvement.replace("ment ", "ment without Qbert (one seed) ")
    single = Together.of([alone])
    assert single is not None
    assert (single.left_out, single.verdict) == ((), "one seed, which decides nothing")


def last(run: evidence.Run) -> float | None:
    return float(run.of_kind("eval")[-1]["mean"])
