"""`--compile`: the same gradients but for last digits, and a refusal where it can't work."""

import functools
from pathlib import Path

import pytest
import torch

from seer.core.phase import Phase
from seer.errors import SettingError
from small_agent import PARTS, gradients, make_agent, make_batch
from small_sac import make, make_config
from tiny_run import SHORT_FLAGS, SHORT_STEPS, machine_free_records, seer, seer_process, stop_in_step

pytestmark = [  # of PyTorch's compiler about itself
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning"),
]


@pytest.mark.parametrize(
    ("agent", "phase", "backend"),
    [
        ("rainbow", Phase.FRAMES, "aot_eager"),
        ("dqn", Phase.LATENTS, "aot_eager"),
        *(
            pytest.param(agent, phase, "inductor", marks=pytest.mark.slow)
            for agent in ("rainbow", "dqn")
            for phase in (Phase.FRAMES, Phase.LATENTS)
        ),
    ],
)
def test_a_compiled_loss_has_the_same_gradients(
    agent: str, phase: Phase, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first backend writes no C++ and takes a second; the other is the one that runs use."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend, fullgraph=True))
    found = []
    for compiles in (False, True):
        learner = make_agent(**PARTS[agent])
        if phase is Phase.LATENTS:
            learner.freeze(phase)
        if compiles:
            learner.compile_loss()
        batch = make_batch(learner, latents=phase is Phase.LATENTS)
        noises = [network.head.draw_noise(learner.generator) for network in (learner.online, learner.target)]
        loss, error, value = learner.loss(batch, learner.embed(batch), noises)
        assert loss.grad_fn is not None
        assert ("Compiled" in loss.grad_fn.name()) == compiles  # else nothing is compared
        loss.backward()
        found.append({"loss": loss.detach(), "error": error, "value": value, **gradients(learner.online)})
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_compiled_run_resumes_to_the_same_figures(tmp_path: Path) -> None:
    flags = (*SHORT_FLAGS, "--steps", SHORT_STEPS, "--compile", "--out")
    assert seer("train", *flags, tmp_path / "whole") == 0
    assert stop_in_step(SHORT_STEPS - 10, "train", *flags, tmp_path / "stopped", signal=15) == 130
    assert seer("resume", tmp_path / "stopped") == 0
    assert machine_free_records(tmp_path / "stopped") == machine_free_records(tmp_path / "whole")


@pytest.mark.slow
def test_without_a_compiler_a_run_is_refused_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    tried = seer_process("train", *SHORT_FLAGS, "--steps", SHORT_STEPS, "--compile", "--out", tmp_path / "run")
    assert tried.returncode == 2
    assert tried.stderr.splitlines()[-1].startswith("seer: error: --compile: PyTorch can't compile here (")
    assert tried.stderr.endswith("): install a C++ compiler, such as g++, or leave --compile out\n")
    assert not (tmp_path / "run").exists()


def test_agents_without_a_loss_to_compile_refuse_it() -> None:
    with pytest.raises(SettingError, match="--compile is for Rainbow and DQN, not for Curl; leave it out"):
        make(make_config("curl"))[0].compile_loss()
