"""In what a run computes: precision and form of convolution, settled when it starts."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch

from refusing import PONG
from seer.agents.inputs import adam
from seer.config import config_from_json, config_to_json
from seer.core.freeze_rules import FreezeRule, StepMetrics
from seer.training.computing import (
    denormals_as_zero,
    describe_computing,
    pick_convolution,
    pick_precision,
    settle_computing,
)
from tiny_run import SHORT_FLAGS, config_of, seer


@pytest.mark.parametrize(
    ("env", "has_bfloat16", "words"),
    [
        ("dm_control/cartpole-swingup-v0", True, "layers in bfloat16"),
        (
            "dm_control/cartpole-swingup-v0",
            False,
            "layers in float32, which would be faster with bfloat16 instructions",
        ),
        ("ALE/Pong-v5", True, "layers in float32"),
        ("ALE/Pong-v5", False, "layers in float32"),
        ("ALE/Pong-v5 --precision bfloat16", False, "layers in bfloat16, slow without bfloat16 instructions"),
    ],
)
def test_a_run_says_what_it_computes_in_and_what_it_does_without(
    env: str, has_bfloat16: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bfloat16})
    line = describe_computing(config_of(["--env", *env.split(), "--device", "cpu"]))
    assert line.startswith("Computing on cpu, ")
    assert line.endswith(words)


@pytest.mark.parametrize(("has_bfloat16", "precision"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_run_keeps_its_precision_on_another_machine(
    has_bfloat16: bool, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bfloat16})
    config = config_of(["--env", "dm_control/cartpole-swingup-v0", "--device", "cpu"])
    settled = config_from_json(config_to_json(settle_computing(config)))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": not has_bfloat16})
    assert pick_precision(settled) is precision
    assert pick_precision(config) is not precision


@pytest.mark.parametrize(("wide", "form"), [(True, "direct"), (False, "patches")])
def test_a_run_keeps_its_form_of_convolution_on_another_machine(
    wide: bool, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": wide})
    configs = [config_of([*PONG, "--device", "cpu", "--convolution", name]) for name in ("auto", form)]
    settled = [config_from_json(config_to_json(settle_computing(config))) for config in configs]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": not wide})
    assert [pick_convolution(config) for config in settled] == [form, form]
    assert pick_convolution(configs[0]) != form


def test_moments_of_dead_units_become_zero_and_the_weights_are_the_same() -> None:
    """A unit learns, is dead for 900 steps, in which its first moment decays, and learns again."""

    def train() -> tuple[list[torch.Tensor], bool]:
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(8, 8))
        optimizer = adam(1e-4)([weight])
        weights, small = [], False
        for step in range(1300):
            weight.grad = torch.randn(8, 8)
            weight.grad[:4] *= float(not 300 <= step < 1200)
            optimizer.step()
            weights.append(weight.detach().clone())
            moment = optimizer.state[weight]["exp_avg"].view(torch.int32) & 0x7FFFFFFF  # bits, which nothing rounds
            small |= bool(((moment > 0) & (moment < 0x00800000)).any())
        return weights, small

    slow, had_small = train()
    with denormals_as_zero():
        fast, has_small = train()
    assert torch.tensor(1e-39) * 0.5 > 0
    assert had_small
    assert not has_small
    assert all(map(torch.equal, slow, fast))


class Look(FreezeRule):
    """Never freezes, and looks at what the processor makes of a small number."""

    found: ClassVar[list[float]] = []

    def on_step(self, metrics: StepMetrics) -> None:
        self.found.append(float(torch.tensor(1e-39) * 0.5) * metrics.step)


def test_training_takes_small_numbers_for_zero_and_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    flags = ["--freeze-at", "test_computing:Look", "--steps", 60, "--replay-capacity", 60]
    assert seer("train", *SHORT_FLAGS, *flags, "--out", tmp_path / "run") == 0
    assert Look.found == [0.0] * 60
    assert torch.tensor(1e-39) * 0.5 > 0
