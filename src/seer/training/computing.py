"""Where and how a run computes: device, threads, precision of the layers, form of the convolutions."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from seer.agents.registry import AGENTS
from seer.config import Config
from seer.errors import SettingError, shortened
from seer.networks.encoders import ConvolutionForm
from seer.system_info import usable_cores


def use_threads(config: Config) -> None:
    """Set the number of threads; more threads than free cores make everything crawl."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Let numbers below 1.2e-38 count as 0 inside `with`.

    So small become Adam's moments where a unit has died, in a run of Rainbow up to an eighth of a hidden layer's after
    270,000 steps; they move no weight, and processors are slow with them.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def try_compiler(device: torch.device) -> None:
    """Compile something small for a device; SettingError where that fails, as without a C++ compiler."""
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:  # of several kinds, none of them public
        raise SettingError(
            f"--compile: PyTorch can't compile here ({shortened(error, limit=120)}): install a C++ compiler, such as "
            f"g++{', and Triton' * (device.type == 'cuda')}, or leave --compile out"
        ) from error


def pick_device(name: str) -> torch.device:
    """Return the device of a `--device` setting, auto a GPU's if there is one; SettingError where it isn't here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise SettingError(f"--device {name} is not available here; use --device cpu or auto") from None
    return device


def pick_precision(config: Config) -> torch.dtype:
    """Return the number format of the layers, by the setting, the agent and the device."""
    name = config.learning.precision
    if name == "auto":
        pays = AGENTS[config.agent].bfloat16_pays and _has_bfloat16(pick_device(config.device))
        name = "bfloat16" if pays else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def pick_convolution(config: Config) -> ConvolutionForm:
    """Return how kernels that lie side by side are computed, by the setting and the device.

    The processor decides it and not a timing: the two forms round differently, and a seed has to give the same run.
    """
    if config.learning.convolution != "auto":
        return config.learning.convolution
    wide = pick_device(config.device).type != "cpu" or torch.cpu.get_capabilities().get("avx512_f", False)
    return "direct" if wide else "patches"


def settle_computing(config: Config) -> Config:
    """Return the settings with "auto" decided for this machine, for good: latents must all be computed one way."""
    precision: Any = str(pick_precision(config)).removeprefix("torch.")
    settled = {"precision": precision, "convolution": pick_convolution(config)}
    return dataclasses.replace(config, learning=dataclasses.replace(config.learning, **settled))


def describe_computing(config: Config) -> str:
    """Return one line: device, threads, precision, and an instruction that the processor lacks for it."""
    device, precision = pick_device(config.device), str(pick_precision(config)).removeprefix("torch.")
    lacks = not _has_bfloat16(device)
    without = ", slow without bfloat16 instructions" if lacks and precision == "bfloat16" else ""
    if lacks and precision == "float32" and AGENTS[config.agent].bfloat16_pays:
        without = ", which would be faster with bfloat16 instructions"
    count = torch.get_num_threads()
    cores = usable_cores()
    crawls = f" on {cores} core{'s' * (cores > 1)}, which is slow: give --threads {cores} or less" * (count > cores)
    threads = f", {count} thread{'s' * (count > 1)}{crawls}" if device.type == "cpu" else ""
    compiled = ", the loss compiled" * config.compile
    return f"Computing on {device}{threads}, layers in {precision}{without}{compiled}"


def _has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device multiplies matrices of bfloat16 faster than of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
