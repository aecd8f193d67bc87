"""The last stage of SAC's and CURL's encoder: a latent for the critic and one for the actor.

Axes: B batch, C channels, H height, W width, N latents per observation, L latent size.
"""

import math

import torch
from torch import Tensor, nn

from seer.networks.convolutions import MapShape
from seer.networks.linear import Linear


class Projections(nn.Module):
    """N fully connected layers with LayerNorm on the same maps [B, C, H, W]: N latents [B, L] (SAC-AE, appendix).

    The first belongs to the critic, whose gradient goes on into the convolutions; the others (the actor's) stop here.
    """

    def __init__(self, input_shape: MapShape, *, latents: int, latent_size: int) -> None:
        super().__init__()
        self.inputs = math.prod(input_shape)
        self.output_shape, self.num_latents = (latents, latent_size), latents
        self.linear = nn.ModuleList(Linear(self.inputs, latent_size) for _ in range(latents))
        self.norm = nn.ModuleList(nn.LayerNorm(latent_size) for _ in range(latents))

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Return the N latents [B, L]."""
        return tuple(self.one(maps, latent) for latent in range(len(self.linear)))

    def one(self, maps: Tensor, latent: int) -> Tensor:
        """Return the latent [B, L] of this number."""
        flat = maps.permute(0, 2, 3, 1).flatten(1)  # no copy, as maps are channels-last
        units = self.linear[latent](flat if latent == 0 else flat.detach())
        normed: Tensor = self.norm[latent](units.to(torch.promote_types(units.dtype, torch.float32)))
        return normed

    def own_parameters(self, latent: int) -> list[nn.Parameter]:
        """Return the weights of one latent: its layer and LayerNorm."""
        return [*self.linear[latent].parameters(), *self.norm[latent].parameters()]

    def multiply_adds(self) -> int:
        """Return the cost of one pass on one observation."""
        return math.prod(self.output_shape) * self.inputs
