"""What this machine can do: products, convolutions and copies in the agent's own shapes, and nothing around them.

A multiply-add counts as two operations here, as is usual for machines; a copy counts what it reads and what it writes.

Axes: B batch, C channels, H, W.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seer.agents.agent import Agent
from seer.bench.timing import Probe, Timing, timed

SQUARE = 1024
"""Side of the matrices of the product that no agent makes: large enough to be the machine's best."""

REPLAY_BLOCK = 64 << 20
"""Bytes of the copy that stands for reading a replay: no processor cache holds it."""

CONVOLUTION, PRODUCT, COPY = "convolution", "matmul", "copy"


@dataclass(frozen=True)
class Ceiling:
    """A rate of the machine: operations per second, or bytes per second for copies."""

    name: str
    rate: float
    unit: str  # of `shown`

    @property
    def shown(self) -> float:
        """In billions, as `unit` says."""
        return self.rate / 1e9


@dataclass(frozen=True)
class Convolved:
    """One convolution of an encoder: its input [B, C, H, W], and its weights' shape and stride."""

    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    @property
    def multiply_adds(self) -> int:
        """For the whole batch."""
        batch, _, height, width = self.input_shape
        outputs, inputs, kernel_height, kernel_width = self.weight_shape
        sides = zip((height, width), (kernel_height, kernel_width), self.stride, self.padding, strict=True)
        rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in sides)
        return batch * rows * columns * outputs * inputs * kernel_height * kernel_width


def convolutions(agent: Agent[nn.Module], *, view_size: int, batch: int) -> list[Convolved]:
    """The convolutions that one pass of the agent's encoder makes, in order."""
    found: list[Convolved] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
        assert isinstance(module, nn.Conv2d)
        padding = module.padding if isinstance(module.padding, tuple) else (0, 0)
        found.append(Convolved(tuple(inputs[0].shape), tuple(module.weight.shape), module.stride, padding))

    encoder = agent.online.encoder
    layers = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        encoder(torch.zeros(batch, layers[0].in_channels, view_size, view_size, device=agent.device))
    for hook in hooks:
        hook.remove()
    return found


def ceiling_probes(
    agent: Agent[nn.Module], *, view_size: int, learned_bytes: int, device: torch.device
) -> dict[Probe, tuple[float, str]]:
    """Probes of every ceiling, with the work of one call and the unit of its rate."""
    batch = agent.cost.batch_size
    layers = convolutions(agent, view_size=view_size, batch=batch)
    work = 2.0 * sum(layer.multiply_adds for layer in layers)
    probes: dict[Probe, tuple[float, str]] = {}

    def add(name: str, call: Callable[[], object], amount: float, unit: str = "GFLOP/s") -> None:
        try:
            call()
        except RuntimeError:  # a dtype that this device doesn't have
            return
        probes[Probe(name, timed(call, device))] = (amount, unit)

    for name, dtype, layout in (
        ("float32", torch.float32, torch.contiguous_format),
        ("float32/channels-last", torch.float32, torch.channels_last),
        ("bfloat16/channels-last", torch.bfloat16, torch.channels_last),
    ):
        add(f"{CONVOLUTION}/{name}", _convolve(layers, dtype, layout, device), work)
    inputs, outputs = _widest_layer(agent)
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        for label, rows, middle, columns in (
            (f"{batch}x{inputs}x{outputs}", batch, inputs, outputs),
            (f"{SQUARE}x{SQUARE}x{SQUARE}", SQUARE, SQUARE, SQUARE),
        ):
            left = torch.rand(rows, middle, device=device).to(dtype)
            right = torch.rand(middle, columns, device=device).to(dtype)
            add(f"{PRODUCT}/{name}/{label}", _multiply(left, right), 2.0 * rows * middle * columns)
    for name, size in (("parameters", learned_bytes), ("replay", REPLAY_BLOCK)):
        source = torch.zeros(size, dtype=torch.uint8, device=device)
        add(f"{COPY}/{name}", _copy(source), 2.0 * size, "GB/s")
    return probes


def rates(timings: Mapping[str, Timing], works: Mapping[Probe, tuple[float, str]]) -> dict[str, Ceiling]:
    """What the probes found."""
    return {
        probe.name: Ceiling(probe.name, amount / (timings[probe.name].milliseconds / 1e3), unit)
        for probe, (amount, unit) in works.items()
    }


def best(ceilings: Mapping[str, Ceiling], prefix: str) -> float:
    """The highest rate of one sort, per second."""
    return max(ceiling.rate for name, ceiling in ceilings.items() if name.startswith(prefix))


def _widest_layer(agent: Agent[nn.Module]) -> tuple[int, int]:
    layers = [module for module in agent.online.head.modules() if isinstance(module, nn.Linear)]
    widest = max(layers, key=lambda layer: layer.in_features * layer.out_features)
    return widest.in_features, widest.out_features


def _convolve(
    layers: Sequence[Convolved], dtype: torch.dtype, layout: torch.memory_format, device: torch.device
) -> Callable[[], object]:
    made = [
        (
            torch.rand(layer.input_shape, device=device).to(dtype, memory_format=layout),
            torch.rand(layer.weight_shape, device=device).to(dtype, memory_format=layout),
            layer,
        )
        for layer in layers
    ]

    def call() -> None:
        with torch.no_grad():
            for maps, weight, layer in made:
                F.conv2d(maps, weight, stride=layer.stride, padding=layer.padding)

    return call


def _multiply(left: Tensor, right: Tensor) -> Callable[[], object]:
    result = torch.empty(len(left), right.shape[1], dtype=left.dtype, device=left.device)
    return lambda: torch.mm(left, right, out=result)


def _copy(source: Tensor) -> Callable[[], object]:
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
