"""Make the analyses of an exhibit: `seer analyze` of its finished runs, and what the page shows of it.

Their files are in OUT/NAME, such as OUT/fig8/walker-walk-curl-snapshots-0-svcca.png, and .json beside it.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from seer.paper.convergence import Convergence
from seer.reporting.curves import Run
from seer.reporting.page import Picture, Section, Table

TITLES = {"attention": "Spatial attention", "svcca": "How early each layer settles"}
ATTENTION = (
    "Where each convolution looks, by training step: the mean over channels of absolute activations, then a softmax "
    "over positions; dark is the least and bright the most of each map."
)
OBSERVATIONS = 4000
"""For SVCCA: ten per direction of the widest layer that was seen, of 396."""


def analyze(kind: str, runs: Mapping[str, Run], folder: Path) -> tuple[list[Section], dict[str, str]]:
    """Carry out `seer analyze KIND` of each run, by name, into `folder`; return sections, and why others failed."""
    shown, failures = [], {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, run in runs.items():
        picture = folder / f"{name}-{kind}.png"
        if (reason := _carry_out(kind, run.folder, picture)) is None:
            shown.append(_section(kind, name, picture))
        else:
            failures[f"{kind} of {name}"] = reason
            print(f"failed: {kind} of {name}: {reason}")
    return shown, failures


def _carry_out(kind: str, run: Path, picture: Path) -> str | None:
    """Analyse a run unless that is done; return why it failed, or None.

    It is a process of its own, so that one that dies, for want of memory for example, leaves the page to the others.
    """
    measured = picture.with_suffix(".json")
    flags = ["--json", measured, "--observations", OBSERVATIONS] if kind == "svcca" else []
    files = [picture, measured] if kind == "svcca" else [picture]
    if all(file.exists() for file in files):
        return None
    for file in files:
        file.unlink(missing_ok=True)  # of a try that was cut off
    command = [sys.executable, "-m", "seer", "analyze", kind, run, "--out", picture, *flags]
    done = subprocess.run(list(map(str, command)), stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines() or ["said nothing"]
    return f"{said[-1].removeprefix('seer: error: ')} (exit code {done.returncode})"


def _section(kind: str, name: str, picture: Path) -> Section:
    title, png = f"{TITLES[kind]}: {name}", base64.b64encode(picture.read_bytes()).decode()
    if kind == "attention":
        return Section(title, [Picture(png, title, ATTENTION)])
    convergence = Convergence.from_json(json.loads(picture.with_suffix(".json").read_text()))
    verdict = convergence.verdict()
    caption = f"{convergence.title}. {verdict[0].upper()}{verdict[1:]}. {'; '.join(convergence.notes())}."
    return Section(title, [Picture(png, title, caption), Table(*convergence.table(), 1)])
