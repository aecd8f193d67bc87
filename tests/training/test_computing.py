"""In what a run computes: precision and form of convolution, settled when it starts."""

import pytest
import torch

from refusing import PONG
from seer.config import config_from_json, config_to_json
from seer.training.computing import describe_computing, pick_convolution, pick_precision, settle_computing
from tiny_run import config_of


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
