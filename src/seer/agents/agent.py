"""The agent as the training loop and the replay know it, and the part that all agents share.

Axes: B batch, S stack, C channels, H, W, K crops, N latents per observation, L latent size, F feature size.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seer.agents.optimizers import clip_gradients, load_optimizer
from seer.core.encoder import FreezableEncoder
from seer.core.flops import Cost
from seer.core.phase import Phase
from seer.core.rows import FrameReplay, Outcome_co, Progress, RowFormat
from seer.errors import SettingError, shortened
from seer.replay import Batch

Head = TypeVar("Head", bound=nn.Module)
RandomGenerator = torch.Generator | np.random.Generator


@dataclass(frozen=True)
class Update:
    """Report one gradient step: scalar metrics (0-d tensors), and new priorities [B] if it has any."""

    metrics: dict[str, Tensor]
    priority: Tensor | None


class EncodedNetwork(nn.Module, Generic[Head]):
    """Join an encoder, whose base is frozen at T_f, and the head above it, which learns to the end."""

    def __init__(self, encoder: FreezableEncoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head


class Agent(ABC, Generic[Head]):
    """Learn off-policy, with an encoder whose base can be frozen.

    A subclass sets `optimizers` and `cost`, and lists `modules` and `generators` for checkpoints.

    Attributes:
        optimizers: by name; the freeze drops those in `ends_at_freeze`, which have nothing left to learn then.
        online, target: the networks; the target starts as a copy and never gets gradients.
        updates, decisions: gradient steps, and calls of `explore`, so far.
    """

    cost: Cost
    optimizers: dict[str, Optimizer]
    ends_at_freeze: tuple[str, ...] = ("encoder",)

    def __init__(self, network: EncodedNetwork[Head]) -> None:
        self.online, self.target = network, _copied(network)
        network.encoder.share_ranges(self.target.encoder)
        self.target.requires_grad_(False)
        self.device = next(network.parameters()).device
        self.updates = 0
        self.decisions = 0

    @property
    def phase(self) -> Phase:
        """Return the phase: what learns and what the replay holds."""
        return self.online.encoder.phase

    @property
    def latent(self) -> RowFormat:
        """Return the format of one row of the replay after the freeze, [K, N, L]."""
        return self.online.encoder.row_format

    @abstractmethod
    def explore(self, observation: np.ndarray) -> tuple[Any, Tensor]:
        """Return an exploring action for one observation [S, C, H, W] uint8, and the row that the replay stores for it.

        Both come from one pass through the encoder.
        """

    @abstractmethod
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return actions [B, ...] without exploration for observations [B, S, C, H, W] uint8; nothing is stored."""

    @abstractmethod
    def judge(self, latents: Tensor, network: EncodedNetwork[Head]) -> tuple[Tensor, Tensor]:
        """Return actions [B, ...] without exploration, and the values [B] that `network` gives them.

        Draws no random number, and changes nothing.

        Args:
            latents: [B, N, L], as the replay stores them.
            network: online or target.
        """

    @abstractmethod
    def update(self, batch: Batch) -> Update:
        """Take one gradient step; the same text in every phase."""

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """Return everything with parameters, by name."""

    @abstractmethod
    def generators(self) -> Mapping[str, RandomGenerator]:
        """Return every source of random numbers, by name."""

    def compile_loss(self) -> None:
        """Let the loss be compiled by PyTorch.

        Raises:
            SettingError: this agent has no such way.
        """
        raise SettingError(f"--compile is for Rainbow and DQN, not for {type(self).__name__}; leave it out")

    def encode(self, frames: Tensor) -> Tensor:
        """Return rows of latents [B, K, N, L] float32 of stacked frames [B, S, C, H, W] uint8."""
        return self.online.encoder.encode_rows(frames)

    def view(self, frames: Tensor) -> Tensor:
        """Return the part of stacked frames [B, S, C, H, W] that acting sees, [B, S, C, h, w]."""
        return self.online.encoder.view(frames)

    def heads(self) -> dict[str, nn.Module]:
        """Return the modules that learn above the encoder, by name."""
        return {"head": self.online.head}

    def reset(self, fresh: "Agent[Head]") -> None:
        """Take the weights above the encoder from `fresh`, an agent of other weights.

        Their optimisers forget the moments of these weights (Nikishin et al. 2022). The encoder stays, and so stored
        latents stay right.
        """
        for module, source in self.renewed(fresh):
            module.load_state_dict(source.state_dict())
            for optimizer in self.optimizers.values():
                for parameter in module.parameters():
                    optimizer.state.pop(parameter, None)

    def renewed(self, fresh: Any) -> list[tuple[nn.Module, nn.Module]]:
        """Return the modules that a reset renews, each with the module that its new weights come from."""
        pairs = [(module, fresh.heads()[name]) for name, module in self.heads().items()]
        return [*pairs, (self.target.head, fresh.online.head)]

    def scale_learning_rates(self, share: float) -> None:
        """Let every optimiser learn at this share of the rate that it was made with."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = share * optimizer.defaults["lr"]

    def row(self, observation: np.ndarray) -> Tensor:
        """Return the row to store for an observation: its newest frame [C, H, W], or latents [K, N, L]."""
        return self._newest(self.online.encoder.row(observation))

    def freeze_and_transcode(self, replay: FrameReplay[Outcome_co], *, progress: Progress | None = None) -> Outcome_co:
        """Freeze the encoder's base and turn the replay's frames into latents: see `FreezableEncoder`."""
        encoder = self.online.encoder
        self.freeze(encoder.phase_after_freeze(replay))
        return replay.transcode(encoder.encode_rows, encoder.row_format, progress=progress)

    def freeze(self, phase: Phase) -> None:
        """Stop the learning of the encoder's base for good: one base for both networks, no gradient, no optimiser.

        `phase` is LATENTS or FROZEN_FRAMES, by what the replay holds from now on.
        """
        for name in self.ends_at_freeze:
            self.optimizers.pop(name, None)
        self.online.encoder.freeze(phase, self.target.encoder)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue exactly: networks, optimisers, generators, phase, counters."""
        return {
            "phase": str(self.phase),
            "updates": self.updates,
            "decisions": self.decisions,
            "modules": {name: module.state_dict() for name, module in self.modules().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "generators": {name: _get_state(generator) for name, generator in self.generators().items()},
        }

    def load_state_dict(self, state: dict[str, Any], *, to_learn: bool = True) -> None:
        """Continue from `state_dict`; a fresh agent is frozen first if the saved one was.

        Args:
            to_learn: load the optimisers too; an agent that only acts needs none.
        """
        phase = Phase(state["phase"])
        if phase is not Phase.FRAMES:
            self.freeze(phase)
        self.updates, self.decisions = state["updates"], state["decisions"]
        for name, module in self.modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items() if to_learn else ():
            load_optimizer(optimizer, state["optimizers"][name])
        for name, generator in self.generators().items():
            _set_state(generator, state["generators"][name])

    def _descend(
        self, loss: Tensor, max_gradient_norm: float | None = None, *, optimizers: Collection[str] | None = None
    ) -> Tensor | None:
        """Take one step of the named optimisers, or of all; return the gradients' norm if there is a limit on it.

        Names of optimisers that the freeze has dropped are passed over.
        """
        stepped = [each for name, each in self.optimizers.items() if optimizers is None or name in optimizers]
        for optimizer in stepped:
            optimizer.zero_grad()
        loss.backward()
        norm = None
        if max_gradient_norm is not None:
            groups = [group for optimizer in stepped for group in optimizer.param_groups]
            norm = clip_gradients([p for group in groups for p in group["params"]], max_gradient_norm)
        for optimizer in stepped:
            optimizer.step()
        return norm

    def _newest(self, row: Tensor) -> Tensor:
        """Return latents as they are; of frames [S, C, H, W], only the newest, as the replay has the others already."""
        return row if self.phase is Phase.LATENTS else row[-1]

    def _to_device(self, observations: np.ndarray) -> Tensor:
        return torch.from_numpy(observations).to(self.device)


def _copied(network: EncodedNetwork[Head]) -> EncodedNetwork[Head]:
    """Return the target network; SettingError where a module of the user's own can't be copied."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # it is the user's code
        raise SettingError(
            f"--encoder-factory: the module can't be copied for the target network ({shortened(error)}); give one that "
            "copy.deepcopy takes"
        ) from error


def _get_state(generator: RandomGenerator) -> Any:
    return generator.get_state() if isinstance(generator, torch.Generator) else generator.bit_generator.state


def _set_state(generator: RandomGenerator, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        if len(state) == len(generator.get_state()):  # the state of a GPU's generator doesn't fit a CPU's
            generator.set_state(state)
    else:
        generator.bit_generator.state = state
