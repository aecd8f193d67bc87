"""An exhibit's page: the analyses that belong to it are in it, and one that fails isn't passed over."""

import base64
import contextlib
import dataclasses
import html
import io
import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from drawing import needs_drawing
from seer.paper import analyses, reproduce
from seer.paper.exhibits import EXHIBITS, Comparison, Variant
from seer.paper.results import write_results
from tiny_run import seer

SNAPSHOTS = (
    *("--env", "ALE/Pong-v5", "--steps", 220, "--first-update", 101, "--batch-size", 8, "--hidden-units", 16),
    *("--freeze-at", "never", "--replay-capacity", 200, "--eval-every", 200, "--eval-episodes", 1, "--device", "cpu"),
    *("--snapshot-every", 100, "--max-episode-steps", 150, "--threads", 1),
)


def in_this_process(command: list[str], **_options: object) -> "subprocess.CompletedProcess[str]":
    """What `python -m seer ...` does, without the seconds that its imports take."""
    complaints = io.StringIO()
    with contextlib.redirect_stderr(complaints):
        code = seer(*command[command.index("seer") + 1 :])
    return subprocess.CompletedProcess(command, code, stderr=complaints.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("own_processes", [False, True])
def test_the_page_shows_the_analyses_and_a_failing_one_fails(
    own_processes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run with all it needs, one whose weights are lost, one that isn't there."""
    if not own_processes:
        monkeypatch.setattr(analyses.subprocess, "run", in_this_process)
        monkeypatch.setattr(analyses, "OBSERVATIONS", 500)
    variants = (
        Variant("kept", "with snapshots"),
        Variant("lost", "without weights"),
        Variant("absent", "never trained"),
    )
    exhibit = dataclasses.replace(EXHIBITS["fig8"], comparisons=(Comparison(("ALE/Pong-v5",), variants),))
    trials = exhibit.trials(seeds=1, root=tmp_path, common={})
    kept, lost, _ = (trial.folder(tmp_path) for trial in trials)
    assert seer("train", *SNAPSHOTS, "--out", kept) == 0
    shutil.copytree(kept, lost)
    shutil.rmtree(lost / "checkpoints")
    pictures = tmp_path / "fig8"
    pictures.mkdir()
    (pictures / "Pong-lost-0-attention.png").write_bytes(b"drawn before")  # so it isn't drawn again
    shown = partial(write_results, exhibit, trials, root=tmp_path, rows=[], fraction=1.0)
    assert not shown()
    text = (tmp_path / "fig8.html").read_text()
    embedded = [base64.b64decode(found) for found in re.findall(r'src="data:image/png;base64,([^"]+)"', text)]
    written = [pictures / f"Pong-{name}.png" for name in ("kept-0-attention", "lost-0-attention", "kept-0-svcca")]
    assert embedded == [file.read_bytes() for file in written]
    figures = json.loads((tmp_path / "fig8" / "Pong-kept-0-svcca.json").read_text())
    assert figures["verdict"][1:] in html.unescape(text)
    for layer in figures["layers"]:
        assert f">{layer['svcca'][-1]:.3f}</span>" in text
    for words in ("svcca of Pong-lost-0", "no checkpoint", "Pong-absent-0", "2 of 3 runs are shown."):
        assert words in text
    times = {file: file.stat().st_mtime_ns for file in written}
    shutil.rmtree(lost)
    assert shown()  # nothing failed, and what is done isn't done again
    assert {file: file.stat().st_mtime_ns for file in written} == times


def test_a_failing_analysis_is_in_the_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs_drawing()  # the figure has tasks of DeepMind Control
    monkeypatch.setattr(reproduce, "run", lambda *_, **__: None)  # the trainings, which take minutes
    for complete, code in ((True, 0), (False, 1)):
        monkeypatch.setattr(reproduce, "write_results", lambda *_, complete=complete, **__: complete)
        assert seer("reproduce", "fig8", "--scale", "toy", "--out", tmp_path) == code
