"""The results that several files of tests read, and their page."""

from pathlib import Path

import pytest

from finished_runs import ATARI_100K
from seer.reporting.report import write_page
from seer.reporting.results import Results


@pytest.fixture(scope="session")
def results() -> Results:
    return Results.of_folders(sorted(ATARI_100K.glob("*-[01]/")), title="Two games & two groups")


@pytest.fixture(scope="session")
def written(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(results, out=tmp_path_factory.mktemp("report") / "report.html")
