"""The replay, the freeze and the accounting for a training loop of one's own; `examples/dqn.py` shows them at work.

Axes: B batch, S stack, C channels of one frame, H, W, K crops, L latent.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seer.core.flops import NO_PASSES, Cost, Part, Passes
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.replay import (
    LATENT_DTYPES,
    ActionFormat,
    Arena,
    Padding,
    Prioritized,
    Replay,
    RowFormat,
    Streams,
    Transcoding,
    Uniform,
)
from seer.replay.transcode import Progress, refuse_unfitted


def make_replay(
    *,
    num_bytes: int,
    frame_shape: tuple[int, ...],
    stack: int,
    action_space: gymnasium.Space[Any],
    n_step: int = 1,
    discount: float = 0.99,
    prioritized: bool = False,
    device: torch.device | str = "cpu",
    seed: int = 0,
    number: int | None = None,
    padding: Padding = "repeat",
) -> Replay:
    """A replay of one environment's frames, in a block of memory that `FreezableEncoder.freeze` fills with latents.

    It takes each step for the next one of the same environment. Several environments get one each, sampled as one by
    `Streams([make_replay(..., seed=i, number=i) for i in range(4)], np.random.default_rng(0))`; its
    `streams[i].append` stores a step of the i-th, and `VectorSteps` those of a `gymnasium.vector.VectorEnv`.

    Args:
        num_bytes: of the block, for example `capacity * 84 * 84`. Actions, rewards and priorities lie beside it
            (`Replay.index_bytes`).
        frame_shape: (C, H, W) of the newest frame, uint8: the row of one step; any shape where `stack` is 1.
        stack: S, frames that make an observation.
        action_space: Discrete or Box.
        n_step: steps folded into one transition.
        discount: per step.
        prioritized: proportional prioritised sampling (Schaul et al. 2016, exponent 0.5); otherwise uniform.
        device: where the block lives.
        seed: of sampling.
        number: among those of `Streams`.
        padding: what the agent sees before an episode's first frame, as `padding_type` of Gymnasium's
            `FrameStackObservation`: that frame again ("repeat", there "reset"), or black ones ("zero"). `append` checks
            it where it is given whole observations, as `FreezableEncoder.row` gives them.

    Raises:
        SettingError: the block is too small for one window, `num_bytes` or `frame_shape` is no such thing, or the
            action space is of another kind.
    """
    if not isinstance(num_bytes, int | np.integer):
        raise SettingError(f"num_bytes is {num_bytes!r}: give a whole number of bytes, such as 70_000_000")
    if min(frame_shape, default=0) < 1 or (len(frame_shape) != 3 and stack > 1):
        raise SettingError(f"frame_shape is {frame_shape}: give (C, H, W) of one frame, such as (1, 84, 84)")
    return Replay(
        arena=Arena(num_bytes, device),
        frame=RowFormat(frame_shape, torch.uint8),
        stack=stack,
        action=action_format(action_space),
        n_step=n_step,
        discount=discount,
        sampler=Prioritized() if prioritized else Uniform(),
        rng=np.random.default_rng(seed),
        number=number,
        padding=padding,
    )


def action_format(action_space: gymnasium.Space[Any]) -> RowFormat:
    """Return how the replay stores an action: int64 `()`, one of those of a Discrete space, or float32 of a Box.

    Raises:
        SettingError: the space is neither.
    """
    match action_space:
        case gymnasium.spaces.Discrete():
            start = int(action_space.start)
            return ActionFormat((), torch.int64, range(start, start + int(action_space.n)))
        case gymnasium.spaces.Box():
            return RowFormat(action_space.shape, torch.float32)
    raise SettingError(f"action_space {action_space} can't be stored: it must be Discrete or Box")


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
        replay: Replay | Streams,
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
        refuse_unfitted(self._dtype, [stream.size for stream in self.replay.streams])  # before anything has changed
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


class VectorSteps:
    """Stores the steps of a `gymnasium.vector.VectorEnv`: those of environment i in stream i of an encoder's replay.

    Where an episode has ended, Gymnasium's environments start the next by themselves (`AutoresetMode`): with the next
    step, which plays no action and isn't stored, or with the same one, whose last observation is in `infos`.

    Args:
        envs: already reset; its `metadata` names the mode. Don't reset it again.
        encoder: makes the rows; its replay has as many streams as there are environments.
        view: an observation of one environment to `[S, C, H, W]` uint8, such as `lambda stack: stack[:, None]`.

    Attributes:
        starting: `[E]` bool: the environments that play no action at the next step.

    Raises:
        SettingError: the mode is unknown, or there are more or fewer streams.
    """

    def __init__(
        self,
        envs: gymnasium.vector.VectorEnv[Any, Any, Any],
        encoder: FreezableEncoder,
        view: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = np.asarray,
    ) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode not in set(gymnasium.vector.AutoresetMode):
            raise SettingError(f"autoreset_mode is {mode!r}: set envs.metadata['autoreset_mode'] to an AutoresetMode")
        if len(encoder.replay.streams) != envs.num_envs:
            raise SettingError(
                f"the replay has {len(encoder.replay.streams)} streams for {envs.num_envs} environments: "
                "give Streams of one each"
            )
        self.starting = np.zeros(envs.num_envs, bool)
        self._mode = gymnasium.vector.AutoresetMode(mode)
        self._encoder, self._view = encoder, view

    def append(  # noqa: PLR0917  # in the order of a loop
        self,
        observations: NDArray[np.uint8],
        actions: NDArray[Any],
        rewards: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        following: NDArray[np.uint8],
        infos: dict[str, Any],
    ) -> None:
        """Store what the environments played: `following` is the observations that `step` returned.

        Raises:
            SettingError: an episode was cut, but its last observation isn't in `infos`, where the mode puts it.
        """
        for env in np.flatnonzero(~self.starting):
            cut = bool(truncated[env] and not terminated[env])
            self._encoder.replay.streams[env].append(
                self._encoder.row(self._view(observations[env])),
                actions[env],
                float(rewards[env]),
                terminated=bool(terminated[env]),
                truncated=cut,
                final_row=self._encoder.row(self._view(self._last(env, following, infos))) if cut else None,
            )
        if self._mode is gymnasium.vector.AutoresetMode.NEXT_STEP:
            self.starting = np.logical_or(terminated, truncated) & ~self.starting

    def _last(self, env: np.intp, following: NDArray[np.uint8], infos: dict[str, Any]) -> NDArray[np.uint8]:
        """Return the observation after the last step of an episode."""
        if self._mode is not gymnasium.vector.AutoresetMode.SAME_STEP:
            return np.asarray(following[env])
        if "final_obs" not in infos:
            raise SettingError("infos have no final_obs, though autoreset_mode is SAME_STEP: pass on those of step()")
        return np.asarray(infos["final_obs"][env])


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
