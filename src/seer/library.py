"""The freeze and the accounting for a training loop of one's own; `examples/dqn.py` shows them at work.

Axes: B batch, S stack, C channels of one frame, H, W, K crops, L latent.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seer.core.flops import NO_PASSES, Cost, Part, Passes
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.replay import LATENT_DTYPES, MultiEnvReplay, Replay, RowFormat, Transcoding
from seer.replay.transcode import Progress, refuse_unfitted


def scaled(frames: Tensor) -> Tensor:
    """What most convolutional encoders read: `[B, S, C, H, W]` uint8 as `[B, S*C, H, W]` float32 in [0, 1]."""
    return frames.flatten(1, 2).float() / 255


class FreezableEncoder:
    """An encoder beside its replay: it learns from frames, and once frozen is read from the replay.

    `encoder(batch.now)` gives features in every phase; a loss on them needs to know nothing of the freeze.

    Args:
        module: from what `prepare` makes to features `[B, ...]`, flattened to `[B, L]`.
        replay: of frames; `freeze` turns them into features.
        latent_dtype: what features are stored as: float32, float16, bfloat16 or int8.
        augment: frames `[B, S, C, H, W]` uint8 to augmented ones, for learning and for what is stored.
        num_crops: K, augmented views of each observation that are stored (SEER: 4 with random crops).
        prepare: frames `[B, S, C, H, W]` uint8, augmented or not, to what `module` reads.

    Attributes:
        phase: what learns and what the replay holds.

    Raises:
        SettingError: the dtype is unknown, or there are several crops but nothing that makes them differ.
    """

    def __init__(
        self,
        module: nn.Module,
        replay: Replay | MultiEnvReplay,
        *,
        latent_dtype: str = "float32",
        augment: Callable[[Tensor], Tensor] | None = None,
        num_crops: int = 1,
        prepare: Callable[[Tensor], Tensor] = scaled,
    ) -> None:
        if latent_dtype not in LATENT_DTYPES:
            raise SettingError(f"latent_dtype {latent_dtype!r} is unknown: use one of {', '.join(LATENT_DTYPES)}")
        if num_crops < 1 or (num_crops > 1 and augment is None):
            raise SettingError(f"num_crops is {num_crops}: it must be 1 or, with augment, more")
        self.module, self.replay = module, replay
        self.phase = Phase.FRAMES
        self._dtype = LATENT_DTYPES[latent_dtype]
        self._augment, self._num_crops, self._prepare = augment, num_crops, prepare
        self._seen: tuple[NDArray[np.uint8], Tensor] | None = None

    def __call__(self, stored: Tensor, module: nn.Module | None = None) -> Tensor:
        """Features `[B, L]` of observations as `Replay.sample` gives them, with a gradient while the encoder learns.

        `module` is another one of the same kind that encodes frames in place of the first, such as a target network;
        after the freeze there is only one.
        """
        if self.phase is Phase.LATENTS:
            return stored.flatten(1)
        frames = stored if self._augment is None else self._augment(stored)
        if self.phase is Phase.FRAMES:
            return _features(module or self.module, self._prepare(frames))
        with torch.no_grad():
            return _features(self.module, self._prepare(frames))

    @torch.no_grad()
    def act(self, observation: NDArray[np.uint8]) -> Tensor:
        """Features `[1, L]` of one observation `[S, C, H, W]` uint8, not augmented, to choose an action from."""
        features = _features(self.module, self._prepare(self._batch(observation)))
        if self.phase is Phase.LATENTS:
            self._seen = observation.copy(), features
        return features

    @torch.no_grad()
    def row(self, observation: NDArray[np.uint8]) -> Tensor:
        """Return what `Replay.append` takes for an observation `[S, C, H, W]` uint8: its frames, or its latents.

        Acting and storing share one pass, where nothing is augmented and it is the observation `act` was given last.
        """
        if self.phase is Phase.LATENTS:
            if self._augment is None and self._seen is not None and np.array_equal(self._seen[0], observation):
                return self._seen[1].view(1, 1, -1)
            return self.encode(self._batch(observation))[0]
        return torch.from_numpy(np.ascontiguousarray(observation))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Rows of latents `[B, K, 1, L]` float32 of frames `[B, S, C, H, W]` uint8."""
        views = frames.repeat_interleave(self._num_crops, 0)
        if self._augment is not None:
            views = self._augment(views)
        return _features(self.module, self._prepare(views)).view(len(frames), self._num_crops, 1, -1)

    def freeze(self, *others: nn.Module, progress: Progress | None = None) -> Transcoding:
        """Stop the encoder's learning for good and turn the stored frames into features, within the same memory.

        Where features would be larger than a frame the replay keeps frames, and only learning stops: see `converted` of
        the result. The module goes to evaluation mode. An optimiser may keep its parameters: without gradients
        it passes over them.

        Args:
            others: modules of the same kind, such as a target network, which take over the weights and stop too.
            progress: called with the rows done and the rows in all.

        Raises:
            ValueError: the encoder is frozen already.
            SettingError: nothing is stored yet that the range of int8 could be fitted to.
        """
        if self.phase is not Phase.FRAMES:
            raise ValueError("the encoder is frozen already")
        refuse_unfitted(self._dtype, [each.size for each in self.replay.replays])  # before anything has changed
        for other in others:
            other.load_state_dict(self.module.state_dict())
        for module in (self.module, *others):
            module.eval().requires_grad_(False).zero_grad()
        transcoding = self.replay.transcode(self.encode, self._latent(), progress=progress)
        self.phase = Phase.LATENTS if transcoding.converted else Phase.FROZEN_FRAMES
        return transcoding

    def state_dict(self) -> dict[str, Any]:
        """Weights and phase; the replay has a `state_dict` of its own. `torch.save` and `torch.load` take both."""
        return {"phase": str(self.phase), "module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._seen = None
        self.module.load_state_dict(state["module"])
        self.phase = Phase(state["phase"])
        if self.phase is not Phase.FRAMES:
            self.module.eval().requires_grad_(False)

    def _latent(self) -> RowFormat:
        """What a row will be: found by encoding a black observation."""
        observation = np.zeros(self.replay.observation_shape, np.uint8)
        return RowFormat(tuple(self.encode(self._batch(observation)).shape[1:]), self._dtype)

    def _batch(self, observation: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(observation[None])).to(self.replay.device)


def _features(module: nn.Module, inputs: Tensor) -> Tensor:
    features: Tensor = module(inputs)
    return features.float().flatten(1)


@torch.no_grad()
def count_multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of one forward pass on `inputs`, of convolutions, matrix products and attention, as PyTorch counts.

    The paper calls each of them one FLOP. Give one sample.
    """
    from torch.utils.flop_counter import FlopCounterMode

    training = [each for each in module.modules() if each.training]  # some may be kept in evaluation mode
    with FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    for each in training:
        each.training = True
    return int(counter.get_total_flops()) // 2


def cost_of(
    *, encoder: int, head: int, batch_size: int, forwards: float = 2, backwards: float = 1, crops: int = 1
) -> Cost:
    """The paper's cost accounting (SEER, section 5) for an encoder and what is above it; feed it to `FlopsLedger`.

    Args:
        encoder, head: multiply-adds of one forward pass on one observation, E and M: see `count_multiply_adds`.
        batch_size: b, samples per update.
        forwards, backwards: F and B, passes per sample and update. DQN: 2 (the network and its target) and 1.
        crops: K, views of an observation that are stored after the freeze.
    """
    passes = Passes(forwards, backwards)
    frozen = {Phase.LATENTS: NO_PASSES, Phase.FROZEN_FRAMES: Passes(2, 0)}
    return Cost(
        encoder=Part(encoder, {Phase.FRAMES: passes} | frozen),
        heads=(Part(head, dict.fromkeys(Phase, passes)),),
        batch_size=batch_size,
        crops=crops,
    )
