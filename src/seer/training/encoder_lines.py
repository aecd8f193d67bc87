"""The first lines of a run about a module of the user's own: what of it learns, until when, and what is stored."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from seer.core.encoder import FreezableEncoder
from seer.core.freeze_rules import FreezeChoice
from seer.core.phase import Phase
from seer.networks.own_module import module_stages, own_module
from seer.training.state import TrainingState


def encoder_lines(run: TrainingState) -> Iterator[str]:
    """Give the lines about the module of `--encoder-factory`; none without one."""
    encoder: FreezableEncoder = run.agent.online.encoder
    module = own_module(encoder.stages)
    if module is None:
        return
    is_frozen = run.agent.phase is not Phase.FRAMES
    choice, count = run.config.freeze.choice, sum(weight.numel() for weight in module.parameters())
    dtype = str(module_stages(encoder.stages)[0].dtype).removeprefix("torch.")
    kind = f"{type(module).__name__}, {count:,} weights, {dtype}"
    fate = _fate(choice, is_frozen=is_frozen) + _cut(encoder, choice)
    yield f"Encoder: {run.config.freeze.encoder_factory} ({kind}), {fate}"
    if not is_frozen and not choice.is_never:
        yield _row(run)
    learning = nn.ModuleList(encoder.above) if is_frozen or choice.step == 0 else module
    yield from _layers_with_modes(learning)


def _fate(choice: FreezeChoice, *, is_frozen: bool) -> str:
    """Tell until when the module learns."""
    if is_frozen and choice.step != 0:
        return "has learnt and is frozen"
    if choice.step == 0:
        return (
            "frozen from the start, as by default with --encoder-factory; to let it learn first, give --freeze-at N, "
            "auto or never"
        )
    if choice.is_never:
        return "learns to the end"
    return f"learns until {f'step {choice.step:,}' if choice.step else f'--freeze-at {choice.text} decides'}"


def _cut(encoder: FreezableEncoder, choice: FreezeChoice) -> str:
    """Tell which layers the freeze freezes, where others go on learning."""
    if choice.is_never or not encoder.above:
        return ""
    below, above = _names(encoder.base, first=1), _names(encoder.above, first=len(encoder.base) + 1)
    return f"; frozen {'is' if choice.step == 0 else 'will be'} {below}, and {above} learns to the end"


def _names(stages: Sequence[nn.Module], *, first: int) -> str:
    """Return which layers these stages are, as --freeze-layers counts them, and of which kinds."""
    kinds = [type(own[0].module if (own := module_stages([stage])) else stage).__name__ for stage in stages]
    if len(kinds) == 1:
        return f"layer {first} ({kinds[0]})"
    return f"all of layers {first} to {first + len(kinds) - 1} ({kinds[0]} to {kinds[-1]})"


def _row(run: TrainingState) -> str:
    """Tell what the freeze will store, and that it stores nothing smaller where the module's output is too wide."""
    latents, frame = run.agent.latent.num_bytes, run.replay.row.num_bytes
    if run.phase_after_freeze is Phase.LATENTS:
        return f"After the freeze {latents:,} bytes of latents are stored in place of {frame:,} bytes of a frame"
    return (
        f"warning: {latents:,} bytes of latents are more than the {frame:,} bytes of a frame, so that frames stay "
        "stored and only compute is saved: end what is frozen in fewer features (a linear layer, --latent-pool, or "
        "another --freeze-layers), or give a smaller --latent-dtype"
    )


def _layers_with_modes(learning: nn.Module) -> Iterator[str]:
    """Tell what batch norm and dropout do, where a module that learns has them."""
    norms: list[Any] = [layer for layer in learning.modules() if hasattr(layer, "running_mean")]
    moving = [layer for layer in norms if layer.training]
    if norms and moving:
        yield (
            "Batch norm: by the batch where the module learns, by running statistics in acting, in targets and in what "
            "is stored; the freeze stops them"
        )
    elif norms:
        yield "Batch norm: by the running statistics that it came with, as the factory gave it in evaluation mode"
    if any(isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training for layer in learning.modules()):
        yield "Dropout: only where the module learns, not in acting, in targets, in what is stored or after the freeze"
