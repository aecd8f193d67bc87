"""Any module as a stage of an encoder."""

import itertools

import torch
from torch import Tensor, nn

from seer.core.flops import count_multiply_adds, evaluation_mode
from seer.errors import SettingError, shortened


def device_of(module: nn.Module) -> torch.device:
    """Return where a module's weights are; the CPU where it has none."""
    weights = itertools.chain(module.parameters(), module.buffers())
    return next((weight.device for weight in weights), torch.device("cpu"))


class ModuleStage(nn.Module):
    """A module that is run once to learn what a stage has to say: its `output_shape` and its `multiply_adds()`.

    Args:
        module: from images [B, *input_shape], or the outputs of the stage below, to features [B, *output_shape].
        input_shape: without the batch.
        as_maps: turn features without height and width into maps [B, L, 1, 1].

    Raises:
        SettingError: the module doesn't take such inputs, or gives no tensor.
    """

    def __init__(self, module: nn.Module, input_shape: tuple[int, ...], *, as_maps: bool = False) -> None:
        super().__init__()
        self.module = module
        blank = torch.zeros(1, *input_shape, device=device_of(module))
        try:
            with torch.no_grad(), evaluation_mode(module):
                shape = module(blank).shape[1:]
            self._multiply_adds = count_multiply_adds(module, blank)
        except Exception as error:  # it is the user's code
            raise SettingError(
                f"{type(module).__name__} doesn't take images [B, {', '.join(map(str, input_shape))}], whose channels "
                f"are those of all stacked frames ({shortened(error)}); give a module that does and returns one tensor"
            ) from error
        self.output_shape = (shape.numel(), 1, 1) if as_maps and len(shape) != 3 else tuple(shape)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, *output_shape] float32."""
        features: Tensor = self.module(images.float())
        return features.float().reshape(-1, *self.output_shape)

    def multiply_adds(self) -> int:
        """Of one forward pass on one observation."""
        return self._multiply_adds
