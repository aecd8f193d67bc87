"""Any module as a stage of an encoder."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seer.core.flops import count_multiply_adds, evaluation_mode
from seer.core.stages import shape_of
from seer.errors import SettingError, shortened


def device_of(module: nn.Module) -> torch.device:
    """Return where a module's weights are; the CPU where it has none."""
    weights = itertools.chain(module.parameters(), module.buffers())
    return next((weight.device for weight in weights), torch.device("cpu"))


class ModuleStage(nn.Module):
    """A module that is run once to learn what a stage has to say: its `output_shape` and its `multiply_adds()`.

    A pass that records gradients is one that the module learns from, and runs it in the mode in which it was given,
    usually that of training: batch norm by the batch, dropout on. Every other pass (acting, encoding, a target network)
    runs it in evaluation mode, so that an observation's features depend on nothing else. Its weights' dtype is what it
    computes in.

    Args:
        module: from images [B, *input_shape], or the outputs of the stage below, to features [B, *output_shape].
        input_shape: without the batch.
        as_maps: turn features without height and width into maps [B, L, 1, 1].
        name: of the module in the sequence that it was taken from, if there is one.

    Attributes:
        num_activations: numbers in the outputs of all its layers, for one observation.
        map_shape: (C, H, W) of the maps that its last layer, an `nn.Flatten`, makes one vector of; else None.

    Raises:
        SettingError: the module doesn't take such inputs, or gives no tensor.
    """

    def __init__(
        self, module: nn.Module, input_shape: tuple[int, ...], *, as_maps: bool = False, name: str | None = None
    ) -> None:
        super().__init__()
        self.module, self.input_shape, self.name = module, input_shape, name
        ramp = torch.linspace(-1, 1, math.prod(input_shape), device=device_of(module), dtype=self.dtype)
        example = ramp.view(1, *input_shape)
        given = example.clone()
        try:
            with torch.no_grad(), evaluation_mode(module), _watching(module) as ran:
                shape = module(given).shape[1:]
            self._multiply_adds = count_multiply_adds(module, example.clone())
        except Exception as error:  # it is the user's code
            raise SettingError(
                f"{type(module).__name__} doesn't take images [B, {', '.join(map(str, input_shape))}], whose channels "
                f"are those of all stacked frames ({shortened(error)}); give a module that does and returns one tensor"
            ) from error
        self.output_shape = (shape.numel(), 1, 1) if as_maps and len(shape) != 3 else tuple(shape)
        self.map_shape = _flattened_maps(ran, shape.numel())
        self._changes_inputs = not torch.equal(given, example)  # as a first layer does that works in place
        self.num_activations = max(sum(layer.outputs for layer in ran), shape.numel())

    @property
    def dtype(self) -> torch.dtype:
        """What the module computes in: the dtype of its weights, float32 where it has none."""
        weights = (weight.dtype for weight in self.module.parameters() if weight.is_floating_point())
        return next(weights, torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, *output_shape] float32."""
        inputs = images.to(self.dtype, copy=self._changes_inputs)
        if torch.is_grad_enabled():
            features: Tensor = self.module(inputs)
        else:
            with evaluation_mode(self.module):
                features = self.module(inputs)
        return features.float().reshape(-1, *self.output_shape)

    def multiply_adds(self) -> int:
        """Of one forward pass on one observation."""
        return self._multiply_adds


def with_shapes(stages: Iterable[nn.Module], input_shape: Callable[[], tuple[int, ...]]) -> Iterator[nn.Module]:
    """Give every stage, in a `ModuleStage` where it doesn't say its shape; `input_shape` is the lowest one's."""
    shape: tuple[int, ...] | None = None
    for stage in stages:
        made = stage if hasattr(stage, "output_shape") else ModuleStage(stage, shape or input_shape())
        shape = shape_of(made)
        yield made


@dataclass(frozen=True)
class _Ran:
    """Hold a layer that ran, the shape of its input for one observation, and the numbers in its output."""

    layer: nn.Module
    inputs: tuple[int, ...]
    outputs: int


def _flattened_maps(ran: Sequence[_Ran], size: int) -> tuple[int, ...] | None:
    """Return the shape (C, H, W) of maps that the last layer made one vector of `size` numbers of, if it did."""
    last = ran[-1] if ran else None
    return last.inputs if last and isinstance(last.layer, nn.Flatten) and last.outputs == size else None


@contextmanager
def _watching(module: nn.Module) -> Iterator[list[_Ran]]:
    """Give a list of every layer that runs inside `with`, in their order."""
    ran: list[_Ran] = []

    def note(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        shapes = [tuple(each.shape[1:]) for each in inputs if isinstance(each, Tensor)]
        ran.append(_Ran(layer, shapes[0] if shapes else (), output.numel() if isinstance(output, Tensor) else 0))

    layers = [layer for layer in module.modules() if not any(True for _ in layer.children())]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()
