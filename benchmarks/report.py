"""What stands beside measured figures: the machine, the versions, and tables that read well as text and as Markdown."""

import ctypes
import os
import platform
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    "seer-rl", "torch", "numpy", "gymnasium", "ale-py", "dm_control", "mujoco", "stable-baselines3",
    "sb3-extra-buffers",
)  # fmt: skip


def machine() -> dict[str, str | int]:
    """Return the processor, its vector instructions as PyTorch uses them, and its cores."""
    information = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", information.read_text(), re.M) if information.exists() else None
    return {
        "processor": found[1] if found else platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count() or 1,
    }


def versions() -> dict[str, str]:
    """Return the versions of all whose speed counts, without those that aren't installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def number(value: float | None) -> str:
    """Return three significant digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".removesuffix(".")


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first stand to the right."""
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def row(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"

    return "\n".join(row(cells) for cells in (header, rule, *lines))


def give_back_freed_memory() -> None:
    """Hand free memory back to the system, where the C library can: what is resident then is in use."""
    if sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
