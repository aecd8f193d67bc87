"""`import seer` for a loop of one's own: exports, the example."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import seer

ROOT = Path(__file__).parents[1]


def test_every_exported_name_resolves_and_type_checkers_see_the_same() -> None:
    source = (ROOT / "src/seer/__init__.py").read_text().partition("if TYPE_CHECKING:")[2].partition("_HOMES")[0]
    for name in seer.__all__:
        assert getattr(seer, name) is not None
        assert name == "__version__" or name in source
    assert dir(seer) == sorted(seer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Replayy'"):
        seer.Replayy  # noqa: B018


def test_the_dqn_example_runs_through_its_freeze() -> None:
    flags = ["500", "490", "300", "480"]
    command = [sys.executable, "-W", "error", ROOT / "examples/dqn.py", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "frozen: 7056 -> 2304 bytes a step, room for 918" in done.stdout
    assert "step 500: latents" in done.stdout


def test_what_decides_when_is_exported_with_what_it_needs() -> None:
    decision, covariances = seer.FreezeWhenSettled(), seer.Covariances()
    samples = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    covariances.add(samples, 3 * samples + 1)
    decision.on_step(seer.StepMetrics(100, episode_returns=[float(score) for score in (*[0] * 10, *range(50, 150))]))
    for step in (5000, 7500, 10_000):
        assert not decision.is_due(step)
        decision.on_step(seer.StepMetrics(step, cka=seer.linear_cka(covariances)))
    assert decision.is_due(10_000)
