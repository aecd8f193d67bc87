"""A ResNet-10 as a model folder of the hub carries it: its own code, beside its weights."""

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithNoAttention


class Config(PretrainedConfig):  # type: ignore[misc]  # it isn't installed where types are checked
    """Channels of the four stages."""

    model_type = "small_resnet10"

    def __init__(self, hidden_sizes: tuple[int, ...] = (8, 16, 32, 64), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_sizes = list(hidden_sizes)


class Block(nn.Module):
    """Two convolutions with group normalisation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.GroupNorm(4, outputs), nn.GroupNorm(4, outputs)])
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norms[1](self.second(torch.relu(self.norms[0](self.first(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet10(PreTrainedModel):  # type: ignore[misc]
    """Four stages of one block; the last stage's map is what LeRobot reads."""

    config_class = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        sizes = config.hidden_sizes
        self.stem = nn.Conv2d(3, sizes[0], 7, 2, 3, bias=False)
        self.blocks = nn.ModuleList(
            Block(i, o, 1 if n == 0 else 2) for n, (i, o) in enumerate(zip([sizes[0], *sizes], sizes, strict=False))
        )
        self.post_init()

    def forward(self, x: torch.Tensor) -> BaseModelOutputWithNoAttention:
        x = nn.functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return BaseModelOutputWithNoAttention(last_hidden_state=x)
