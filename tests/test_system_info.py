"""What is left of memory, on a machine and in control groups."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from seer import system_info
from seer.system_info import free_bytes


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in place of the system's; the process is in the group that the test writes."""
    monkeypatch.setattr(system_info, "CGROUPS", tmp_path)
    monkeypatch.setattr(system_info, "OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path


def limit(group: Path, most: int | str, used: int, *files: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    active, inactive = files or (0, 0)
    (group / "memory.stat").write_text(f"anon 90\nfile 7\nactive_file {active}\ninactive_file {inactive}\nslab 5\n")


def test_a_containers_cached_files_are_free(cgroups: Path) -> None:
    limit(cgroups, 300_000_000, 290_000_000, 20_000_000, 30_000_000)
    assert free_bytes() == 60_000_000


def test_a_group_inside_others_has_what_the_tightest_leaves(cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/jobs/seer\n")
    limit(cgroups / "jobs" / "seer", 900_000_000, 100_000_000)
    assert free_bytes() == 800_000_000
    limit(cgroups / "jobs", 950_000_000, 700_000_000)
    assert free_bytes() == 250_000_000
    limit(cgroups / "jobs" / "seer", "max", 100_000_000)
    assert free_bytes() == 250_000_000


def test_version_1_counts_the_files_of_groups_inside(cgroups: Path) -> None:
    (cgroups / "own").write_text("5:cpu,cpuacct:/elsewhere\n4:memory:/only/the/host/knows\n0::/\n")
    group = cgroups / "memory"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("300000000\n")
    (group / "memory.usage_in_bytes").write_text("290000000\n")
    (group / "memory.stat").write_text("active_file 1\ntotal_active_file 20000000\ntotal_inactive_file 30000000\n")
    assert free_bytes() == 60_000_000


def test_more_in_use_than_allowed_leaves_nothing(cgroups: Path) -> None:
    limit(cgroups, 1_000, 2_000)
    assert free_bytes() == 0


@pytest.mark.parametrize("written", ["max", None])
def test_without_a_limit_the_machines_memory_counts(written: str | None, cgroups: Path) -> None:
    if written is not None:
        limit(cgroups, written, 1)
    assert free_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_without_control_groups_the_machines_memory_counts(cgroups: Path) -> None:
    (cgroups / "own").unlink()
    assert free_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_group_of_this_system() -> None:
    """The limit of a real group is seen by a process in it."""
    group = next((each for each in system_info._control_groups() if (each / "cgroup.procs").exists()), None)
    if group is None:
        pytest.skip("no control groups here")
    inner = group / f"seer-test-{os.getpid()}"
    try:
        inner.mkdir()
    except OSError as error:
        pytest.skip(f"a control group can't be made here ({error.strerror})")
    try:
        name = next((name for name in ("memory.max", "memory.limit_in_bytes") if (inner / name).exists()), None)
        if name is None:
            pytest.skip("groups made here have no limit of memory")
        (inner / name).write_text(f"{700 << 20}")
        program = f"""
            open({str(inner / "cgroup.procs")!r}, "w").write("0")
            from seer.system_info import free_bytes
            print(free_bytes())
        """
        shown = subprocess.run(
            [sys.executable, "-c", "\n".join(line.strip() for line in program.splitlines())],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert 300 << 20 < int(shown.stdout) <= 700 << 20
    finally:
        inner.rmdir()
