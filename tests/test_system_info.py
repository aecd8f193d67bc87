"""What is left of memory, on a machine and in a container."""

from pathlib import Path

import psutil
import pytest

from seer import system_info as resident
from seer.system_info import free_bytes


def test_a_containers_cached_files_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("300000000\n")
    (tmp_path / "memory.current").write_text("290000000\n")
    (tmp_path / "memory.stat").write_text("anon 90\nfile 7\nactive_file 20000000\ninactive_file 30000000\nslab 5\n")
    assert free_bytes() == 60_000_000


@pytest.mark.parametrize("limit", ["max\n", None])
def test_without_a_limit_the_machines_memory_counts(
    limit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "CGROUP", tmp_path)
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("1")
    assert free_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
