"""The result of `seer bench`: for a person, for a program, for the documentation.

JSON: `ceilings` (name -> value, unit), `versions`, `machine`, `rows` (name, milliseconds, floor_milliseconds,
ratio_to_floor, ratio_to_peer; null where there is no such thing), and beside the rows `quartiles` (name -> [first,
third], milliseconds), `missing` (name -> reason), `targets`, `scaling` (curve -> [[x, milliseconds], ...]).
"""

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from seer import __version__
from seer.bench.ceilings import Ceiling
from seer.bench.timing import Timing
from seer.errors import SettingError
from seer.reporting.files import write

PACKAGES = ("torch", "numpy", "gymnasium", "ale-py", "dm_control", "mujoco", "stable-baselines3")
QUIET_SHARE = 0.9
"""Of the processor, below which a measurement isn't worth quoting."""

BEGIN, END = "<!-- seer bench: begin -->", "<!-- seer bench: end -->"
"""What `--markdown` writes stands between these lines; the rest of the file is left alone."""


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured; `met` is None where this run can't tell, and `note` says why."""

    target: str
    limit: float
    measured: float | None
    met: bool | None
    note: str = ""

    @property
    def word(self) -> str:
        """As a table says it."""
        return "open" if self.met is None else "met" if self.met else "missed"


@dataclass
class Report:
    """Everything measured; times by row name.

    `processor_share`, by agent: for how much of the time of measuring its rows this process had a processor.
    """

    device: torch.device
    threads: Mapping[str, int]
    ceilings: dict[str, Ceiling] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    peer_ratios: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    scaling: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    targets: list[Verdict] = field(default_factory=list)
    processor_share: dict[str, float] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a row, in the order in which they were measured."""
        return [
            {
                "name": name,
                "milliseconds": timing.milliseconds,
                "floor_milliseconds": self.floors.get(name),
                "ratio_to_floor": timing.milliseconds / self.floors[name] if name in self.floors else None,
                "ratio_to_peer": self.peer_ratios.get(name),
            }
            for name, timing in self.timings.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """The whole report, as the module says."""
        return {
            "ceilings": {name: {"value": c.shown, "unit": c.unit} for name, c in self.ceilings.items()},
            "versions": versions(),
            "machine": machine(self.device)
            | {"threads": dict(self.threads), "processor_share": dict(self.processor_share)},
            "rows": self.rows(),
            "quartiles": {name: [timing.lower, timing.upper] for name, timing in self.timings.items()},
            "missing": self.missing,
            "targets": [asdict(verdict) for verdict in self.targets],
            "scaling": self.scaling,
        }


# Tables ----------------------------------------------------------------------------------------------------------

NUMBERS = {
    "ms", "quartiles", "per second", "floor ms", "times the floor", "of SB3's time", "at most", "measured",
}  # fmt: skip
"""Columns that stand to the right."""

Cells = tuple[Sequence[str], Sequence[Sequence[str]]]  # header, rows


def row_cells(report: Report) -> Cells:
    """The table of rows."""
    header = ("row", "ms", "quartiles", "per second", "floor ms", "times the floor", "of SB3's time")
    lines = []
    for row in report.rows():
        timing = report.timings[row["name"]]
        lines.append(
            (
                row["name"],
                _number(timing.milliseconds),
                f"{_number(timing.lower)} to {_number(timing.upper)}",
                _number(1e3 / timing.milliseconds) if timing.milliseconds > 0 else "",
                _number(row["floor_milliseconds"]),
                _number(row["ratio_to_floor"]),
                _number(row["ratio_to_peer"]),
            )
        )
    lines += [(name, "missing", "", "", "", "", "") for name in report.missing]
    return header, lines


def ceiling_cells(report: Report) -> Cells:
    """The table of ceilings."""
    return ("ceiling", "measured", ""), [(n, _number(c.shown), c.unit) for n, c in report.ceilings.items()]


def target_cells(report: Report) -> Cells:
    """The table of targets."""
    lines = [(v.target, _number(v.limit), _beside(v.limit, v.measured), v.word, v.note) for v in report.targets]
    return ("target", "at most", "measured", "", "note"), lines


def scaling_cells(report: Report) -> Cells:
    """The second page, a curve a line."""
    lines = [
        (name, ", ".join(f"{x:,}: {_number(milliseconds)}" for x, milliseconds in curve))
        for name, curve in report.scaling.items()
    ]
    return ("curve", "ms at each size"), lines


def print_report(report: Report) -> None:
    """All tables on stdout."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    for title, cells in _pages(report):
        table = Table(*cells[0], title=title, title_justify="left")
        for column in table.columns:
            column.no_wrap = title in ("Rows", "Ceilings")
        for line in cells[1]:
            table.add_row(*line)
        console.print(table)
    for warning in busy_warnings(report):
        console.print(warning)
    for reason in dict.fromkeys(report.missing.values()):
        console.print(f"Missing: {', '.join(n for n, r in report.missing.items() if r == reason)}: {reason}")


def markdown(report: Report) -> str:
    """All tables, for the documentation."""
    facts = machine(report.device) | versions()
    threads = ", ".join(f"{agent} {count}" for agent, count in report.threads.items())
    parts = [f"Threads: {threads}. " + ", ".join(f"{name} {value}" for name, value in facts.items()) + "."]
    for title, (header, lines) in _pages(report):
        rule = ["---:" if name in NUMBERS else "---" for name in header]
        parts.append(f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines)))
    parts += busy_warnings(report)
    parts += [f"Missing {name}: {reason}" for name, reason in report.missing.items()]
    return "\n\n".join(parts)


def busy_warnings(report: Report) -> list[str]:
    """One line for each agent whose rows other programs disturbed."""
    return [
        f"Don't quote the rows of {agent}: other programs kept the processor {1 - share:.0%} of the time. "
        "Close them and measure again."
        for agent, share in report.processor_share.items()
        if share < QUIET_SHARE
    ]


def _pages(report: Report) -> list[tuple[str, Cells]]:
    pages = [
        ("Rows", row_cells(report)),
        ("Targets", target_cells(report)),
        ("Ceilings", ceiling_cells(report)),
        ("Cost against work", scaling_cells(report)),
    ]
    return [(title, cells) for title, cells in pages if cells[1]]


def _beside(limit: float, measured: float | None) -> str:
    """Three significant digits, more where those would hide on which side of its limit a number lies."""
    if measured is None or measured == limit or _number(measured) != _number(limit):
        return _number(measured)
    return next(text for digits in range(4, 18) if float(text := f"{measured:#.{digits}g}") != limit)


def _number(value: float | None) -> str:
    """Three significant digits; nothing for nothing."""
    if value is None:
        return ""
    if value and abs(value) < 100:
        return f"{value:#.3g}".removesuffix(".") if abs(value) >= 1e-3 else f"{value:.2g}"
    return f"{value:,.0f}"


# Files -----------------------------------------------------------------------------------------------------------


def check_output(flag: str, path: Path | None, *, endings: Sequence[str], marked: bool = False) -> None:
    """Refuse a file that can't be written, or would be overwritten, before anything is measured.

    `marked`: a file with the two marks is fine, as only what is between them changes.

    Raises:
        SettingError: naming the flag.
    """
    if path is None:
        return
    if path.suffix not in endings or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise SettingError(
            f"{flag} {path}: give a name that ends in {' or '.join(endings)}, in a folder that can be written"
        )
    if path.exists():
        if not marked:
            raise SettingError(f"{flag} {path} exists; give another name or delete it")
        _split(flag, path)


def write_json(report: Report, path: Path) -> None:
    """The report as JSON."""
    write(path, json.dumps(report.as_json(), indent=1, allow_nan=False).encode() + b"\n", flag="--json")


def write_markdown(report: Report, path: Path) -> None:
    """The tables as Markdown, between the marks of `path`; a new file gets the marks too."""
    before, after = _split("--markdown", path) if path.exists() else ("", "\n")
    write(path, f"{before}{BEGIN}\n{markdown(report)}\n{END}{after}".encode(), flag="--markdown")


def _split(flag: str, path: Path) -> tuple[str, str]:
    """What stands before and after the marked part of a file."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SettingError(f"{flag} {path} exists and has no lines {BEGIN} and {END}; add them, or give another name")
    return before, after


# The machine -----------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Of everything whose speed counts; without what isn't installed."""
    found = {"seer": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine(device: torch.device) -> dict[str, str]:
    """Processor, its vector instructions as PyTorch uses them, cores, and the GPU if that is what was measured."""
    facts = {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": str(os.cpu_count()),
        "device": str(device),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", information.read_text(), re.M) if information.exists() else None
    return found[1] if found else platform.processor() or platform.machine()
