"""The freeze: an encoder whose lower stages learn at first and are then replaced by what they gave, stored in a replay.

The base's output is what a replay can store, latents; the output of the whole encoder, which heads read, is features.

Axes: B batch, S stack, C channels of one frame, H, W, K crops, N latents per observation, L latent size,
F feature size.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seer.core.frozen_weights import FrozenWeights
from seer.core.module_stage import device_of, with_shapes
from seer.core.phase import Phase
from seer.core.rows import LATENT_DTYPES, FrameReplay, Outcome_co, Progress, RowFormat, refuse_unfitted
from seer.core.sensors import SensorStage
from seer.core.stages import (
    Features,
    Frames,
    Inputs,
    Reading,
    as_frames,
    features_of,
    flat_shape,
    num_outputs,
    refuse_other_phase,
    refuse_unprepared,
    run,
    scaled,
    shape_of,
    unchanged,
)  # fmt: skip
from seer.errors import SettingError


class FreezableEncoder(nn.Module):
    """Stages in a row: `base`, the lower ones, learns until the freeze; what is `above` it goes on learning.

    `encoder.embed(encoder.prepare(stored))` gives the features of what a replay samples, in every phase; a loss on
    them needs to know nothing of the freeze. Before it they are computed from frames, with a gradient; after it from
    the latents that `base` gave, which the replay stored in the frames' place.

    Args:
        stages: a module, or several from the pixels up. One that doesn't say its `output_shape` and `multiply_adds()`
            is run once to learn them. The last may give several outputs, `num_outputs`, and then has `one` and
            `own_parameters` (see `networks/projections.py`).
        observation_shape: (S, C, H, W), for the lowest stage to be run on.
        frozen_stages: how many stages the freeze freezes; all by default.
        pixels: from frames to what the lowest stage reads.
        inputs: the same in a form that is cheaper for the stages, if there is one.
        view: from frames to what acting sees of them; all by default.
        augment: from frames to augmented ones, for learning and for what is stored; `view` by default.
        num_crops: K, augmented views of each observation that are stored (SEER: 4 random crops).
        latent_dtype: what latents are stored as: float32, float16, bfloat16 or int8.
        precision: what the stages above the cut compute in.

    Attributes:
        phase: what learns and what the replay holds.
        row_format: one row of the replay after the freeze, [K, N, L].
        latent_shape: (N, L) of the latents that `encode` gives.
        output_size: F.

    Raises:
        SettingError: a setting that can't be.
    """

    def __init__(
        self,
        stages: nn.Module | Sequence[nn.Module],
        observation_shape: tuple[int, ...] | None = None,
        *,
        frozen_stages: int | None = None,
        pixels: Reading = scaled,
        inputs: Reading | None = None,
        view: Frames = unchanged,
        augment: Frames | None = None,
        num_crops: int = 1,
        latent_dtype: str = "float32",
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if latent_dtype not in LATENT_DTYPES:
            raise SettingError(f"latent_dtype {latent_dtype!r} is unknown: use one of {', '.join(LATENT_DTYPES)}")
        if num_crops < 1 or (num_crops > 1 and augment is None):
            raise SettingError(f"num_crops is {num_crops}: it must be 1 or, with augment, more")
        self._observation_shape = None if observation_shape is None else tuple(observation_shape)
        self.pixels, self.inputs = pixels, pixels if inputs is None else inputs
        self.view, self.augment = view, augment
        self.precision = precision
        given = [stages] if isinstance(stages, nn.Module) else stages
        self.stages = nn.ModuleList(with_shapes(given, self._input_shape))
        self.frozen_stages = len(self.stages) if frozen_stages is None else frozen_stages
        if not 1 <= self.frozen_stages <= len(self.stages):
            raise SettingError(f"frozen_stages is {frozen_stages}: the encoder has {len(self.stages)}, give 1 or more")
        self.phase = Phase.FRAMES
        self._frozen_weights = FrozenWeights()
        self._cut_shape = shape_of(self.base[-1])
        self.latent_shape = flat_shape(self.base[-1])
        self.output_size = flat_shape(self.stages[-1])[1]
        self.row_format = RowFormat((num_crops, *self.latent_shape), LATENT_DTYPES[latent_dtype])

    @property
    def base(self) -> Sequence[nn.Module]:
        """The stages that the freeze freezes."""
        return list(self.stages)[: self.frozen_stages]

    @property
    def above(self) -> Sequence[nn.Module]:
        """The stages that go on learning."""
        return list(self.stages)[self.frozen_stages :]

    # Features of a sample, for losses, in every phase -----------------------------------------------------------

    def prepare(self, stored: Tensor) -> Inputs:
        """Return what `embed` reads of observations as a replay samples them; this and `embed` know the phase.

        Augmented inputs while the encoder learns, later latents [B, N, L] without a gradient. Several passes, of the
        online and of the target encoder, may share it.

        Raises:
            SettingError: frames, once latents are stored, or latents before.
        """
        refuse_other_phase(self.phase, stored)
        if self.phase is Phase.LATENTS:
            return stored
        inputs = self.inputs(self._augmented(stored))
        if self.phase is Phase.FRAMES:
            return inputs  # type: ignore[no-any-return]
        with torch.no_grad():
            return self.encode(inputs)

    def embed(self, prepared: Inputs) -> Features:
        """Return the features, [B, F] each, of prepared observations."""
        if self.phase is not Phase.FRAMES:
            return self.finish(prepared)  # type: ignore[arg-type]
        refuse_unprepared(prepared, self.inputs, self.latent_shape)
        return self(prepared)  # type: ignore[no-any-return]

    def embed_one(self, prepared: Inputs, number: int) -> Tensor:
        """Return the features [B, F] of one head alone, for less work."""
        return self.embed_last(self.embed_below(prepared), number)

    def embed_below(self, prepared: Inputs) -> Inputs:
        """Return the input of the last stage for prepared observations, or the latents [B, N, L] where it is frozen.

        `embed_last` goes on from there, after the last stage has learnt too.
        """
        if self.phase is Phase.FRAMES:
            return run(list(self.stages)[:-1], prepared)  # type: ignore[no-any-return]
        return run(self.above[:-1], self._at_cut(prepared)) if self.above else prepared  # type: ignore[arg-type]

    def embed_last(self, below: Inputs, number: int) -> Tensor:
        """Return the features [B, F] of one head, from what `embed_below` gave."""
        if self.phase is not Phase.FRAMES and not self.above:
            return below[:, number]  # type: ignore[index]  # latents
        last = self.stages[-1]
        return last.one(below, number) if num_outputs(last) > 1 else features_of([last], below)[number]  # type: ignore[operator]

    # Passes -----------------------------------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> Features:
        """Return the features, [B, F] each, of `inputs` or `pixels`, from all stages."""
        return features_of(self.stages, inputs)

    def encode(self, inputs: Inputs) -> Tensor:
        """Return the latents [B, N, L] float32 of `inputs` or `pixels`, from the base."""
        return torch.stack(features_of(self.base, inputs), dim=1)

    def finish(self, latents: Tensor) -> Features:
        """Return the features, [B, F] each, of latents [B, N, L] that `encode` gave or a replay stored."""
        if self.frozen_stages == len(self.stages):
            return latents.unbind(1)
        return features_of(self.above, self._at_cut(latents))

    def _at_cut(self, latents: Tensor) -> Inputs:
        """Return stored latents [B, 1, L] as the maps that they were."""
        if isinstance(self.base[-1], SensorStage):
            return self.base[-1].sensed_from(latents[:, 0], self.precision)
        return latents.view(-1, *self._cut_shape).to(self.precision)

    # Acting and storing -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def observe(self, observation: NDArray[np.uint8]) -> tuple[Features, Tensor]:
        """Return the features [1, F] to act on, and the `row` to store, of one observation [S, C, H, W] uint8.

        Both come from one pass. Raises SettingError for another layout, where it can be told.
        """
        frames, stores_latents = as_frames(observation, self._observation_shape), self.phase is Phase.LATENTS
        batch = frames[None].to(self.device)
        views = self.view(batch)
        if stores_latents:
            self._frozen_weights.check(self.base_parameters())
            if self.augment is not None:
                views = torch.cat([views, self._crops(batch)])
        inputs = self.inputs(views)
        self._learn_range(inputs)
        latents = self.encode(inputs)
        row = latents[len(latents) - self.row_format.shape[0] :] if stores_latents else frames
        return self.finish(latents[:1]), row

    @torch.no_grad()
    def row(self, observation: NDArray[np.uint8]) -> Tensor:
        """Return what `Replay.append` takes for an observation [S, C, H, W] uint8: its frames, or latents [K, N, L]."""
        frames = as_frames(observation, self._observation_shape)
        if self.phase is Phase.LATENTS:
            self._frozen_weights.check(self.base_parameters())
            return self.encode_rows(frames[None].to(self.device))[0]
        if isinstance(self.stages[0], SensorStage):
            self._learn_range(self.inputs(self.view(frames[None].to(self.device))))
        return frames

    @torch.no_grad()
    def encode_rows(self, frames: Tensor) -> Tensor:
        """Return rows of latents [B, K, N, L] float32 of frames [B, S, C, H, W] uint8."""
        return self.encode(self.inputs(self._crops(frames))).view(len(frames), *self.row_format.shape)

    def _learn_range(self, inputs: Inputs) -> None:
        """Let the normalisation of vectors count an observation; not in evaluation mode, such as after the freeze."""
        if isinstance(self.stages[0], SensorStage):
            self.stages[0].learn_range(inputs)  # type: ignore[arg-type]

    def share_ranges(self, *targets: "FreezableEncoder") -> None:
        """Let targets normalise vectors as this encoder does from now on, by the same sums."""
        if isinstance(self.stages[0], SensorStage):
            for target in targets:
                target.stages[0].normalization = self.stages[0].normalization  # type: ignore[assignment]

    # The freeze -------------------------------------------------------------------------------------------------

    def freeze_and_transcode(
        self, replay: FrameReplay[Outcome_co], *targets: "FreezableEncoder", progress: Progress | None = None
    ) -> Outcome_co:
        """Freeze the base and turn the replay's frames into its latents, inside the same memory.

        Where latents would be larger than a frame the replay keeps its frames, and only the learning stops.

        Args:
            replay: of frames.
            targets: encoders that follow this one, such as a target network's: see `freeze`.
            progress: called with the rows done and the rows in all.

        Raises:
            ValueError: the encoder is frozen already.
            SettingError: nothing is stored yet that the range of int8 could be fitted to.
        """
        phase = self.phase_after_freeze(replay)
        if phase is Phase.FROZEN_FRAMES:
            warnings.warn(
                f"latents of {self.row_format.num_bytes:,} bytes would be larger than a frame of "
                f"{replay.row.num_bytes:,}, so the replay keeps frames and only compute is saved: give fewer features",
                stacklevel=2,
            )
        self.freeze(phase, *targets)
        return replay.transcode(self.encode_rows, self.row_format, progress=progress)

    def phase_after_freeze(self, replay: FrameReplay[Any]) -> Phase:
        """Return the phase that the freeze leads to; raises what `freeze_and_transcode` does."""
        if self.phase is not Phase.FRAMES:
            raise ValueError("the encoder is frozen already")
        refuse_unfitted(self.row_format.dtype, [part.size for part in replay.replays])  # before anything has changed
        return Phase.after_freeze(frame_bytes=replay.row.num_bytes, latent_bytes=self.row_format.num_bytes)

    def freeze(self, phase: Phase, *targets: "FreezableEncoder") -> None:
        """Stop the base's learning for good, and give every target the same base.

        Its last gradient is cleared: left in place it would count in a clipped norm for ever. It goes to evaluation
        mode and stays there. An optimiser may keep its parameters: without gradients it passes over them.

        Args:
            phase: what the replay holds from now on, LATENTS or FROZEN_FRAMES.
            targets: encoders of the same stages.
        """
        for index, stage in enumerate(self.base):
            stage.eval().requires_grad_(False).zero_grad()
            for target in targets:
                target.stages[index] = stage
        for encoder in (self, *targets):
            encoder.phase = phase

    def train(self, mode: bool = True) -> "FreezableEncoder":
        """Set the mode of what still learns: running statistics are part of what is frozen."""
        super().train(mode)
        for stage in self.base if self.phase is not Phase.FRAMES else ():
            stage.eval()
        return self

    def checkpoint(self) -> dict[str, Any]:
        """Return phase and weights, for `restore`; the replay has a `state_dict` of its own."""
        return {"phase": str(self.phase), "weights": self.state_dict()}

    def restore(self, state: dict[str, Any], *targets: "FreezableEncoder") -> None:
        """Continue from `checkpoint`; where that is of a frozen encoder, freeze this one and its targets too."""
        phase = Phase(state["phase"])
        if phase is Phase.FRAMES and self.phase is not Phase.FRAMES:
            raise SettingError("this encoder is frozen, but the saved one still learnt: restore it into a new encoder")
        if phase is not Phase.FRAMES:
            self.freeze(phase, *targets)
        self.load_state_dict(state["weights"])

    # For optimisers and the count of FLOPs ----------------------------------------------------------------------

    def base_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that stop learning at the freeze."""
        return [parameter for stage in self.base for parameter in stage.parameters()]

    def above_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that go on learning."""
        return [parameter for stage in self.above for parameter in stage.parameters()]

    def own_parameters(self, number: int) -> list[nn.Parameter]:
        """Return the parameters that only the features of this head depend on: its projection, where it has one."""
        last = self.stages[-1]
        return last.own_parameters(number) if num_outputs(last) > 1 else []  # type: ignore[operator]

    def multiply_adds(self) -> tuple[int, int]:
        """Return the cost of one pass on one observation: of the base (E in the paper) and of what is above it."""
        costs = [int(stage.multiply_adds()) for stage in self.stages]  # type: ignore[operator]
        return sum(costs[: self.frozen_stages]), sum(costs[self.frozen_stages :])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return device_of(self)

    def _input_shape(self) -> tuple[int, ...]:
        if self._observation_shape is None:
            raise SettingError("observation_shape is missing: give (S, C, H, W), such as (4, 1, 84, 84)")
        black = torch.zeros(1, *self._observation_shape, dtype=torch.uint8)
        return tuple(self.pixels(self.view(black)).shape[1:])

    def _augmented(self, frames: Tensor) -> Tensor:
        return (self.view if self.augment is None else self.augment)(frames)

    def _crops(self, frames: Tensor) -> Tensor:
        """Return K augmented views of each observation, [B * K, S, C, h, w]."""
        crops = self.row_format.shape[0]
        return self._augmented(frames if self.augment is None else frames.repeat_interleave(crops, 0))
