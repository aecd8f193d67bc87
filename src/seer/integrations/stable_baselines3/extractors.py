"""The features extractors of a Stable-Baselines3 policy: which there are, and what freezing does to them.

SB3's networks get their features in one place, `extract_features(observation, extractor)`. At the freeze that method is
replaced on each network: given what the replay stored, it goes on from there; given images, it runs all.

Axes: B batch, N extractors, L numbers stored of each.
"""

import torch
from stable_baselines3.common.policies import BaseModel
from torch import Tensor, nn

from seer.core.encoder import FreezableEncoder
from seer.core.frozen_weights import weights_digest
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.integrations.stable_baselines3.cut import Cut
from seer.integrations.stable_baselines3.packing import Observation
from seer.replay import LATENT_DTYPES, RowFormat


class StoredFeatures:
    """Holds what the replay stored in place of observations: features [B, N, L] float32, one per extractor."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)


class ExtractorBase(nn.Module):
    """Serves the base of a network's features extractor as the base of a `FreezableEncoder`.

    From images as SB3's networks take them, which the network prepares itself, to what is stored, [B, L].
    """

    def __init__(self, network: BaseModel, cut: Cut) -> None:
        super().__init__()
        extractor = network.features_extractor
        self.module, self.output_shape = cut.base(extractor), (cut.latent_size(extractor),)
        self.__dict__["network"] = network  # of which this is a part, not the other way round

    def forward(self, observation: Observation) -> Tensor:
        """Return what is stored, [B, L]."""
        return extract(self.network, self.module, observation)  # type: ignore[arg-type]


class FrozenExtractor:
    """Runs the frozen base of one features extractor, and remembers what it gave last.

    Args:
        number: of its latent among the N stored.
        encoder: frozen.
    """

    def __init__(self, number: int, encoder: FreezableEncoder) -> None:
        self.number, self.encoder = number, encoder
        self.remembers = False
        self._seen: tuple[Observation, Tensor] | None = None

    @property
    def module(self) -> nn.Module:
        """The base, which learns no more."""
        base = self.encoder.base[0]
        assert isinstance(base, ExtractorBase)
        return base.module

    def encode(self, observation: Observation) -> Tensor:
        """Return what is stored, [B, 1, L]; the newest is remembered, so that acting and storing share one pass."""
        if self._seen is not None and _same(self._seen[0], observation):
            return self._seen[1]
        latents = self.encoder.encode(observation)
        if self.remembers:
            self._seen = _copy(observation), latents  # SB3's tensors share the environment's memory
        return latents


class FromReplayOrPixels:
    """Stands for a network's `extract_features`. A class, not a closure, so that a policy can still be copied.

    Args:
        extractor: images to what is stored.
        encoder: the network's own, for what is above the cut.
    """

    def __init__(self, extractor: FrozenExtractor, encoder: FreezableEncoder) -> None:
        self.extractor, self.encoder = extractor, encoder

    def __call__(self, observation: Observation, features_extractor: nn.Module | None = None) -> Tensor:  # noqa: ARG002
        if isinstance(observation, StoredFeatures):
            latents = observation.features[:, self.extractor.number, None]
        else:
            latents = self.extractor.encode(observation)
        (features,) = self.encoder.finish(latents)
        return features


class FrozenExtractors:
    """Holds all extractors of a policy, frozen."""

    def __init__(self, extractors: list[FrozenExtractor], size: int) -> None:
        self._extractors, self.shape = extractors, (len(extractors), size)  # (N, L)

    def encode(self, observation: Observation) -> Tensor:
        """Return features [B, N, L] float32 of images [B, ...]: tensors, as SB3's networks take them."""
        return torch.cat([extractor.encode(observation) for extractor in self._extractors], dim=1)

    def remember(self) -> None:
        """From now on keep the newest features: the replay stores what acting has computed."""
        for extractor in self._extractors:
            extractor.remembers = True

    def fingerprint(self) -> str:
        """Return the SHA-256 over all weights and statistics, by which stored features are known as their own."""
        return weights_digest(item for each in self._extractors for item in each.module.state_dict().items())


def features_row(number: int, size: int, dtype: str, most_bytes: int) -> RowFormat:
    """Return the format of a row, [1, N, L] of `dtype`; "auto" is float32 if that takes no more bytes, else float16."""
    row = RowFormat((1, number, size), LATENT_DTYPES["float32" if dtype == "auto" else dtype])
    if dtype == "auto" and row.num_bytes > most_bytes:
        return RowFormat(row.shape, torch.float16)
    return row


def networks(policy: nn.Module) -> dict[str, BaseModel]:
    """Return the parts of a policy with a features extractor: q_net and q_net_target, or actor, critic and so on."""
    return {
        name: part
        for name, part in policy.named_children()
        if isinstance(part, BaseModel) and isinstance(part.features_extractor, nn.Module)
    }


def online_networks(policy: nn.Module) -> list[BaseModel]:
    """Return those that learn, one per extractor: an actor and a critic that share theirs count once.

    Raises:
        SettingError: there is nothing to freeze.
    """
    distinct: dict[int, BaseModel] = {}
    for name, network in networks(policy).items():
        if not name.endswith("_target"):
            distinct.setdefault(id(network.features_extractor), network)
    found = list(distinct.values())
    if not any(network.features_extractor.state_dict() for network in found):  # type: ignore[union-attr]
        name = type(policy).__name__
        raise SettingError(
            f"{name} has no features extractor with weights to freeze: use CnnPolicy, or MultiInputPolicy with a "
            "picture that Stable-Baselines3 takes for one, uint8 from 0 to 255"
        )
    return found


def frozen_extractors(policy: nn.Module) -> FrozenExtractors | None:
    """Return what `freeze` made of this policy before, if it did."""
    stands = [network.__dict__.get("extract_features") for network in networks(policy).values()]
    extractors = {stand.extractor.number: stand.extractor for stand in stands if isinstance(stand, FromReplayOrPixels)}
    return _together([extractors[number] for number in sorted(extractors)]) if extractors else None


def freeze(policy: nn.Module, cut: Cut) -> FrozenExtractors:
    """Stop the base from learning for good, and give targets that of the network they follow.

    The encoders' phase says only that they are frozen: SB3 calls a network with images when it acts and with
    `StoredFeatures` in updates, so the kind of observation tells what the replay holds.

    Frozen weights become buffers: a saved model still has them under their names, but nothing that goes over
    `parameters()` sees them any more, neither gradient clipping nor the target's moving average. Optimisers keep their
    places for them, so that a saved optimiser fits a new model; without a gradient they leave them alone.
    """
    parts = networks(policy)
    encoders = {
        name: FreezableEncoder([ExtractorBase(network, cut), *cut.above(network.features_extractor)], frozen_stages=1)
        for name, network in parts.items()
    }
    learned = [parameter for encoder in encoders.values() for parameter in encoder.base_parameters()]
    found = []
    for number, network in enumerate(online_networks(policy)):
        extractor = network.features_extractor
        followed = {name: parts.get(name.removesuffix("_target"), part) for name, part in parts.items()}
        names = [name for name, online in followed.items() if online.features_extractor is extractor]
        first = next(name for name in names if parts[name] is network)
        encoders[first].freeze(Phase.FROZEN_FRAMES, *(encoders[name] for name in names if name != first))
        found.append(FrozenExtractor(number, encoders[first]))
        for name in names:
            parts[name].features_extractor = cut.share(extractor, parts[name].features_extractor)
            stand = FromReplayOrPixels(found[-1], encoders[name])
            parts[name].extract_features = stand  # type: ignore[method-assign, assignment]
        _hold_as_buffers(found[-1].module)
    _forget(learned, [policy, *parts.values()])
    return _together(found)


@torch.no_grad()
def extract(network: BaseModel, module: nn.Module, observation: Observation) -> Tensor:
    """Return [B, L] of `module`, given images as `network` prepares them; batch norm and dropout as in evaluation."""
    module.eval()  # SB3 puts whole policies into training mode before updates
    features: Tensor = type(network).extract_features(network, observation, module)  # type: ignore[arg-type]
    return features


def _together(extractors: list[FrozenExtractor]) -> FrozenExtractors:
    sizes = {extractor.encoder.latent_shape[1] for extractor in extractors}
    if len(sizes) > 1:
        raise SettingError(f"the policy's features extractors have sizes {sorted(sizes)}: give all one features_dim")
    return FrozenExtractors(extractors, sizes.pop())


def _hold_as_buffers(module: nn.Module) -> None:
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())


def _forget(parameters: list[nn.Parameter], owners: list[nn.Module]) -> None:
    """Leave no moments of these parameters in the owners' optimisers: they would only take memory."""
    for owner in owners:
        if isinstance(optimizer := getattr(owner, "optimizer", None), torch.optim.Optimizer):
            for parameter in parameters:
                optimizer.state.pop(parameter, None)


def _copy(observation: Observation) -> Observation:
    if isinstance(observation, dict):
        return {key: tensor.clone() for key, tensor in observation.items()}
    return observation.clone()


def _same(one: Observation, other: Observation) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    return torch.equal(one, other)
