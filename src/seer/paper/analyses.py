"""The analyses of an exhibit: `seer analyze` of its finished runs, and what the page shows of it.

What they write is in OUT/NAME, such as OUT/fig8/walker-walk-curl-snapshots-0-svcca.png, and .json beside it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from seer.paper.convergence import Convergence, notes_of, table_of, title_of
from seer.reporting.curves import Run
from seer.reporting.results import Illustration

TITLES = {"attention": "Spatial attention", "svcca": "How early each layer settles"}
ATTENTION = (
    "Where each convolution looks, by training step: the mean over channels of absolute activations, then a softmax "
    "over positions; dark is the least and bright the most of each map."
)
OBSERVATIONS = 4000
"""For SVCCA: ten per direction of the widest layer that was seen, of 396."""

WIDE = 120
"""Characters of a table of the page."""


def analyze(kind: str, runs: Mapping[str, Run], folder: Path) -> tuple[list[Illustration], dict[str, str]]:
    """`seer analyze KIND` of each run, by name, into `folder`: what it shows, and by name why it failed."""
    shown, failures = [], {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, run in runs.items():
        picture = folder / f"{name}-{kind}.png"
        reason = _carry_out(kind, run.folder, picture)
        if reason is None:
            shown.append(_illustration(kind, name, picture))
        else:
            failures[f"{kind} of {name}"] = reason
            print(f"failed: {kind} of {name}: {reason}")
    return shown, failures


def _carry_out(kind: str, run: Path, picture: Path) -> str | None:
    """Analyse a run unless that is done, in a process of its own; why it failed, or None."""
    files = [picture, *([picture.with_suffix(".json")] if kind == "svcca" else [])]
    if all(file.exists() for file in files):
        return None
    for file in files:
        file.unlink(missing_ok=True)  # of a try that was cut off
    flags = ["--out", picture, *(("--json", files[1], "--observations", OBSERVATIONS) if kind == "svcca" else ())]
    command = [sys.executable, "-m", "seer", "analyze", kind, run, *flags]
    done = subprocess.run([str(part) for part in command], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return f"{said[-1].removeprefix('seer: error: ') if said else 'said nothing'} (exit code {done.returncode})"


def _illustration(kind: str, name: str, picture: Path) -> Illustration:
    title = f"{TITLES[kind]}: {name}"
    if kind == "attention":
        return Illustration(title, ATTENTION, picture)
    convergence = Convergence.from_json(json.loads(picture.with_suffix(".json").read_text()))
    verdict = convergence.verdict()
    caption = f"{title_of(convergence)}. {verdict[0].upper()}{verdict[1:]}. {'; '.join(notes_of(convergence))}."
    return Illustration(title, caption, picture, *table_of(convergence, width=WIDE))
