"""The last stage of SAC's and CURL's encoder: features for the critic, and others for the actor.

Axes: B batch, C channels, H height, W width, F feature size.
"""

import math

import torch
from torch import Tensor, nn

from seer.core.sensors import Sensed, SensorStage
from seer.networks.convolutions import MapShape
from seer.networks.linear import Linear, OfLinearLayers


class Projections(OfLinearLayers):
    """Project maps [B, C, H, W] to features [B, F] of each head, by a linear layer and LayerNorm (SAC-AE, appendix).

    The first belongs to the critic, whose gradient goes on into the convolutions; that of the others, the actor's,
    stops here.
    """

    def __init__(self, input_shape: MapShape, *, heads: int, feature_size: int) -> None:
        super().__init__()
        self.inputs = math.prod(input_shape)
        self.output_shape, self.num_outputs = (heads, feature_size), heads
        self.linear = nn.ModuleList(Linear(self.inputs, feature_size) for _ in range(heads))
        self.norm = nn.ModuleList(nn.LayerNorm(feature_size) for _ in range(heads))

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Return the features, [B, F] of each head."""
        return tuple(self.one(maps, number) for number in range(len(self.linear)))

    def one(self, maps: Tensor, number: int) -> Tensor:
        """Return the features [B, F] of one head."""
        return self._project(maps.permute(0, 2, 3, 1).flatten(1), number)  # no copy, as maps are channels-last

    def _project(self, flat: Tensor, number: int) -> Tensor:
        units = self.linear[number](flat if number == 0 else flat.detach())
        normed: Tensor = self.norm[number](units.to(torch.promote_types(units.dtype, torch.float32)))
        return normed

    def own_parameters(self, number: int) -> list[nn.Parameter]:
        """Return the weights of one head's layer and LayerNorm."""
        return [*self.linear[number].parameters(), *self.norm[number].parameters()]


class SensorProjections(Projections):
    """Project the maps of all cameras together; each head's features [B, F] are that, and the vectors behind it."""

    def __init__(self, below: SensorStage, *, heads: int, feature_size: int) -> None:
        inputs = math.prod(below.output_shape) - below.vector_size
        super().__init__((inputs, 1, 1), heads=heads, feature_size=feature_size)
        self.vector_size = below.vector_size
        self.output_shape = (heads, feature_size + self.vector_size)

    def one(self, sensed: Sensed, number: int) -> Tensor:  # type: ignore[override]  # of several cameras
        maps = [each.permute(0, 2, 3, 1).flatten(1) for each in sensed.images]
        return torch.cat([self._project(torch.cat(maps, 1), number), sensed.vectors], 1)
