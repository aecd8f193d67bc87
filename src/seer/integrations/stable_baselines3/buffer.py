"""A replay buffer for Stable-Baselines3's off-policy algorithms that becomes one of features.

Axes: E environments, B batch, S stack, R bytes of a row, N extractors, L features.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from seer.core.rows import Progress
from seer.errors import SettingError
from seer.integrations.stable_baselines3.extractors import FrozenExtractors, StoredFeatures, features_row
from seer.integrations.stable_baselines3.packing import (
    Observation,
    ObservationPacker,
    complete_last,
    has_image,
    refuse_actions,
)
from seer.integrations.stable_baselines3.transition_replay import TransitionReplay
from seer.replay import MultiEnvReplay, RowFormat, Transcoding

CHUNK = 64  # observations encoded at a time at the freeze


class SeerReplayBuffer(ReplayBuffer):
    """Stores each observation once, as one frame where observations are stacks, and as features after the freeze.

    Its memory is `buffer_size` rows of one frame, one block of bytes per environment, the same before and after the
    freeze. An episode cut by a time limit takes one row more, and one that starts with a stack that isn't one
    frame repeated (VecFrameStack's is padded with black) takes S - 1 more. Every step is stored; one that leads to
    another stack than its own shifted by one frame takes up to 2 S - 1 more.

    A subclass may change what `sample` or `_get_samples` return. After the freeze they are called as before, but the
    observations are `StoredFeatures`; the callback tries that before the first step.

    Args:
        buffer_size, observation_space, action_space, device, n_envs, handle_timeout_termination: as for SB3's.
        optimize_memory_usage: refused: it is so anyway.
        frame_stack: S, frames per observation. None: what VecFrameStack or FrameStackObservation says, else 1,
            where a row is a whole observation.
        n_steps, gamma: as for SB3's NStepReplayBuffer; the callback takes over a model's `n_steps`.

    Attributes:
        buffer_size: rows per environment; grows at the freeze.
        n_steps, gamma: as given.

    Raises:
        SettingError: a setting this buffer can't work with.
    """

    def __init__(  # noqa: PLR0917  # SB3's order
        self, buffer_size: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any],
        device: torch.device | str = "auto", n_envs: int = 1, optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True, *, frame_stack: int | None = None, n_steps: int = 1,
        gamma: float = 0.99,
    ) -> None:  # fmt: skip
        if optimize_memory_usage:
            raise SettingError("optimize_memory_usage=True: leave it out, no observation is stored twice anyway")
        if not has_image(observation_space):
            raise SettingError(f"SeerReplayBuffer needs image observations, not {observation_space}")
        if n_steps < 1 or not 0 < gamma <= 1:
            raise SettingError(f"n_steps is {n_steps} and gamma {gamma}: give at least 1, and more than 0 up to 1")
        BaseBuffer.__init__(self, max(buffer_size // n_envs, 1), observation_space, action_space, device, n_envs)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = handle_timeout_termination
        self.frame_stack, self.n_steps, self.gamma = frame_stack, n_steps, gamma
        self.fingerprint: str | None = None  # of the extractors whose features are stored
        self._rng = np.random.default_rng(torch.initial_seed())  # SB3 has seeded torch; nothing is drawn from it here
        self._first_buffer_size = self.buffer_size
        self._extractors: FrozenExtractors | None = None
        self._latent_dtype = "auto"
        self._replay: TransitionReplay | None = None

    @property
    def is_prepared(self) -> bool:
        """Whether memory has been allocated: the callback does it, which knows how frames are stacked."""
        return self._replay is not None

    @property
    def holds_latents(self) -> bool:
        """Whether features are stored instead of frames."""
        return self._replay is not None and self._replay.rows.holds_latents

    @property
    def is_frozen(self) -> bool:
        """Whether a freeze has reached this buffer, also where it kept its images."""
        return self._extractors is not None

    @property
    def num_bytes(self) -> int:
        """Bytes of what is stored for observations."""
        return 0 if self._replay is None else self._replay.rows.num_bytes

    @property
    def num_added(self) -> int:
        """Steps given so far, of all environments together; those that aren't held any more were overwritten."""
        return 0 if self._replay is None else self._replay.num_added

    @property
    def num_held(self) -> int:
        """Steps stored, of all environments together; rows that only complete stacks aren't counted."""
        return 0 if self._replay is None else self._replay.rows.num_steps

    @property
    def num_jumps(self) -> int:
        """Steps so far that led to another stack than their own shifted by one frame, and were stored whole."""
        return 0 if self._replay is None else self._replay.num_jumps

    @property
    def latent_dtype(self) -> str:
        """What features are stored as: float32, float16 or bfloat16."""
        return str(self._rows.row.dtype).removeprefix("torch.")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row now."""
        return self._rows.row.num_bytes

    def prepare(self, frame_stack: int) -> None:
        """Allocate the memory for rows of one of `frame_stack` frames, unless that has been done.

        Raises:
            SettingError: the buffer is too small for one window, or too large for this machine.
        """
        if self.is_prepared:
            return
        least = self.n_steps + frame_stack + 1
        if self._first_buffer_size < least:
            raise SettingError(
                f"buffer_size leaves {self._first_buffer_size} rows for each environment, but n_steps {self.n_steps} "
                f"and a stack of {frame_stack} need {least}: give at least {least * self.n_envs}"
            )
        self.frame_stack = frame_stack
        self._replay = self._make_replay(frame_stack)

    def reset(self) -> None:
        """Forget all steps; what is stored stays the same kind."""
        if self.is_prepared:
            held_latents, self._replay, self.buffer_size = self.holds_latents, None, self._first_buffer_size
            assert self.frame_stack is not None
            self.prepare(self.frame_stack)
            if held_latents and self._extractors is not None:
                self.freeze(self._extractors, self._latent_dtype)
        super().reset()

    def freeze(
        self, extractors: FrozenExtractors, latent_dtype: str = "auto", progress: Progress | None = None
    ) -> Transcoding:
        """Turn the stored frames into features, inside the same memory, or keep them where features would be larger.

        Args:
            latent_dtype: as for SeerCallback.
            progress: told of rows done and rows in all.

        Returns:
            What was done, all environments together.
        """
        self._extractors, self._latent_dtype = extractors, latent_dtype
        latent = features_row(*extractors.shape, latent_dtype, self.row_bytes)
        done = self._rows.transcode(self._encode_rows, latent, chunk_rows=CHUNK, progress=progress)
        if self.holds_latents:
            self.attach(extractors)
            self.fingerprint = extractors.fingerprint()
        self._update_size()
        return done

    def attach(self, extractors: FrozenExtractors) -> None:
        """From now on new observations are encoded by `extractors`.

        Raises:
            SettingError: what is stored are the features of others.
        """
        if self.fingerprint is not None and self.fingerprint != extractors.fingerprint():
            raise SettingError(
                "the replay buffer holds features of another model's extractor: load the model it was saved with, and "
                "don't call set_parameters after the freeze"
            )
        self._extractors = extractors
        if self.holds_latents:
            extractors.remember()

    def add(  # noqa: PLR0917  # SB3's order
        self, obs: Observation, next_obs: Observation, action: NDArray[Any], reward: NDArray[Any], done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        """Store one step of every environment, as SB3 calls it."""
        replay = self._ready()
        now, following = replay.packer.pack(obs), replay.packer.pack(next_obs)  # [E, S, R]
        given = {len(now), len(following), np.size(reward), np.size(done), len(infos)}
        if given != {self.n_envs}:
            raise SettingError(f"add() takes a step of each of the {self.n_envs} environments, not {sorted(given)}")
        refuse_actions(self.action_space, action)
        action = np.array(action, self._maybe_cast_dtype(self.action_space.dtype)).reshape(self.n_envs, self.action_dim)
        cut = [self.handle_timeout_termination and bool(info.get("TimeLimit.truncated", False)) for info in infos]
        truncated = np.array(cut)
        complete_last(replay.packer, now, following, infos, done=done, truncated=truncated)
        latents = self._encode(self._tensors(obs)).cpu() if self.holds_latents else None  # [E, N, L]
        replay.add(now, following, action, reward, done=np.asarray(done, bool), truncated=truncated, latents=latents)
        self._update_size()

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw B transitions, every stored one equally likely, in SB3's form.

        Observations are images, or `StoredFeatures`, which the frozen networks take in their place.
        """
        return self._get_samples(self._ready().draw(batch_size), env=env)

    def _get_samples(self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None) -> Any:
        """Return the transitions `batch_inds` [B], which are such as `sample` draws."""
        replay = self._ready()
        now, action, reward, after, discount = (column.to(self.device) for column in replay.read(batch_inds))
        if now.dtype != torch.uint8:
            one, other = StoredFeatures(now), StoredFeatures(after)
        else:
            one, other = replay.packer.unpack(now), replay.packer.unpack(after)
            if self.holds_latents:  # the first step of all
                one, other = StoredFeatures(self._encode(one)), StoredFeatures(self._encode(other))
        if env is not None:
            reward = torch.from_numpy(self._normalize_reward(reward.cpu().numpy(), env)).to(self.device)
        make: Any = DictReplayBufferSamples if isinstance(one, dict) else ReplayBufferSamples
        return make(
            observations=one, actions=action, next_observations=other, dones=(discount == 0).float()[:, None],
            rewards=reward[:, None], discounts=None if self.n_steps == 1 else discount[:, None],
        )  # fmt: skip

    def recent(self, count: int, span: int) -> list[Observation]:
        """Return `count` observations of the newest `span` rows, in chunks; only while frames are stored."""
        replay = self._ready()
        ids = replay.rows.recent(count, span=span)
        chunks = [replay.rows.read(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
        return [replay.packer.unpack(chunk.to(self.device)) for chunk in chunks]

    def __getstate__(self) -> dict[str, Any]:
        """Return what SB3's save_replay_buffer writes: what is stored, not the empty places, nor the extractors."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("_replay", "_extractors")}
        return state | {"stored": None if self._replay is None else self._replay.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Continue from `__getstate__`; the callback attaches the extractors."""
        stored = state.pop("stored")
        self.__dict__.update(state, _extractors=None, _replay=None)
        if stored is not None and self.frame_stack is not None:
            self._replay = self._make_replay(self.frame_stack)
            self._replay.load_state_dict(stored)

    def _make_replay(self, frame_stack: int) -> TransitionReplay:
        dtype = self._maybe_cast_dtype(self.action_space.dtype)
        return TransitionReplay(
            ObservationPacker(self.observation_space, frame_stack),
            RowFormat((self.action_dim,), torch.from_numpy(np.empty(0, dtype)).dtype),
            capacity=self._first_buffer_size, num_envs=self.n_envs, n_step=self.n_steps,
            discount=1.0 if self.n_steps == 1 else self.gamma,  # with one step SB3 discounts by itself
            rng=self._rng, encode=self._encode_one,
        )  # fmt: skip

    def _ready(self) -> TransitionReplay:
        if self._replay is None or (self.holds_latents and self._extractors is None):
            raise SettingError(
                "SeerReplayBuffer works with its callback: pass callback=SeerCallback(...) to learn(), and to add or "
                "sample steps before that call its init_callback(model) first"
            )
        return self._replay

    @property
    def _rows(self) -> MultiEnvReplay:
        assert self._replay is not None
        return self._replay.rows

    def _update_size(self) -> None:
        """Set what SB3 users read: rows of the first environment."""
        replay = self._rows.replays[0]
        self.buffer_size, self.pos, self.full = replay.capacity, replay.size, replay.size == replay.capacity

    def _tensors(self, obs: Observation) -> Observation:
        if isinstance(obs, dict):
            shapes: Any = self.obs_shape
            obs = {key: value.reshape(self.n_envs, *shapes[key]) for key, value in obs.items()}
        return obs_as_tensor(obs, self.device)

    def _encode(self, observation: Observation) -> Tensor:
        """Return latents [B, N, L] of images."""
        assert self._extractors is not None
        return self._extractors.encode(observation)

    def _encode_rows(self, rows: Tensor) -> Tensor:
        """Return latents [B, 1, N, L] of rows [B, S, R], for the replay, where that is."""
        return self._encode(self._ready().packer.unpack(rows.to(self.device)))[:, None].to(rows.device)

    def _encode_one(self, observation: NDArray[np.uint8]) -> Tensor:
        return self._encode_rows(torch.from_numpy(observation)[None])[0]
