"""The cut through features extractors: the base stops learning and its output is stored, what is above goes on.

Axes: B batch, C channels, P positions of a feature map, L latent size.
"""

from dataclasses import dataclass
from typing import Any, Literal

from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor, nn

from seer.errors import SettingError

Layers = Literal["auto", "all", "convolutions"]


@dataclass(frozen=True)
class Cut:
    """Cuts above whole extractors, or above the convolutions of `NatureCNN`s, whose linear layer goes on learning."""

    layers: Literal["all", "convolutions"]

    def base(self, extractor: Any) -> nn.Module:
        """Return the base, which the freeze freezes: from images to latents."""
        part: nn.Module = extractor.cnn if self.layers == "convolutions" else extractor
        return part

    def above(self, extractor: Any) -> list[nn.Module]:
        """Return what is above the base: from latents to features."""
        return [extractor.linear] if self.layers == "convolutions" else []

    def latent_size(self, extractor: Any) -> int:
        """Return L, the numbers that are stored."""
        return int(extractor.linear[0].in_features if self.layers == "convolutions" else extractor.features_dim)

    def samples(self, extractor: Any, latents: Tensor) -> Tensor:
        """Return the samples of a comparison of latents [B, L]: every position of a map [B * P, C], or the latents."""
        if self.layers == "all":
            return latents
        channels = [layer.out_channels for layer in extractor.cnn if isinstance(layer, nn.Conv2d)][-1]
        return latents.view(len(latents), channels, -1).transpose(1, 2).flatten(0, 1)

    def share(self, extractor: Any, other: Any) -> Any:
        """Return `other` with its base replaced by that of `extractor`."""
        if self.layers == "all":
            return extractor
        other.cnn = extractor.cnn
        return other


def choose_cut(layers: Layers, policy: Any, extractors: list[Any]) -> Cut:
    """Return the cut asked for. "auto" leaves a policy more than one linear layer to learn with, where it can.

    Raises:
        SettingError: "convolutions", but an extractor isn't SB3's `NatureCNN`.
    """
    others = [type(extractor).__name__ for extractor in extractors if not _is_nature(extractor)]
    if layers == "convolutions" and others:
        raise SettingError(f"freeze_layers='convolutions' is for NatureCNN, not {others[0]}: 'all' freezes all of it")
    if layers == "auto":
        layers = "all" if others or _has_layers(policy) else "convolutions"
    return Cut(layers)


def _has_layers(policy: Any) -> bool:
    """Whether every head has hidden layers of its own; a policy that names none of SB3's is taken to have some."""
    arch = getattr(policy, "net_arch", True)
    return all(arch.values()) if isinstance(arch, dict) else bool(arch)


def _is_nature(extractor: Any) -> bool:
    """Whether it computes what NatureCNN does: `linear` of `cnn`."""
    return isinstance(extractor, NatureCNN) and type(extractor).forward is NatureCNN.forward
