"""Check, before the first step, that a module of one's own can be an encoder: a few passes on two images of noise."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seer.core.flops import evaluation_mode
from seer.core.module_stage import device_of
from seer.errors import SettingError, shortened
from seer.networks.own_module import module_stages, own_module

MOST_DIFFERENCE = 0.05
"""Largest difference of features that should be equal, as a share of the largest of them: rounding is far below."""

MOST_LOST = 1e-5
"""The same of a module and its copy by `state_dict`, which compute alike; one pass moves a running mean by little."""


def refuse_unfit(stages: Iterable[nn.Module], *, learns: bool) -> None:
    """Refuse a module whose features couldn't be stored or, if it `learns` first, one that can't learn.

    `stages` are an encoder's; without a module of one's own there is nothing to refuse.

    Raises:
        SettingError: its features aren't finite, change from pass to pass or with the other images of a batch, no
            gradient reaches its weights, or it learns what its `state_dict` lacks.
    """
    module = own_module(stages)
    if module is None:
        return
    stage, *_ = module_stages(stages)
    noise = torch.rand(2, *stage.input_shape, generator=torch.Generator().manual_seed(0))
    images, name = noise.to(device_of(module), stage.dtype), type(module).__name__
    with torch.no_grad(), evaluation_mode(module):
        features, again = (module(images.clone()).float() for _ in range(2))
        alone = torch.cat([module(image[None].clone()).float() for image in images])
    if not features.isfinite().all():
        raise SettingError(f"--encoder-factory: {name} gives features that aren't finite: check its weights")
    if not _alike(again, features):
        raise SettingError(
            f"--encoder-factory: {name} gives other features for the same images each time, in evaluation mode too: "
            "stored ones would be noise. Let its dropout heed the mode (training=self.training)"
        )
    if not _alike(alone, features):
        raise SettingError(
            f"--encoder-factory: the features that {name} gives for an image depend on the others in its batch, in "
            "evaluation mode too, so that they can't be stored: use batch norm with running statistics, or a norm "
            "of each image"
        )
    if learns:
        _refuse_hidden_state(module, _after_a_pass(module, images), images)


def _after_a_pass(module: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy after one pass to learn from; its weights have gradients and didn't move.

    Raises:
        SettingError: it can't learn, or the copy, as for a target network, computes with the weights of the first.
    """
    name, clone = type(module).__name__, copy.deepcopy(module)
    gpus = [images.device] if images.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(gpus):  # its dropout takes nothing from the run's random numbers
            features = clone(images.clone())
            if features.requires_grad:
                features.float().square().sum().backward()
    except Exception as error:  # it is the user's code
        raise SettingError(
            f"--encoder-factory: {name} can't learn ({shortened(error)}); mend it, or freeze it from the start by "
            "--freeze-at 0"
        ) from error
    if all(weight.grad is None for weight in clone.parameters()):
        raise SettingError(
            f"--encoder-factory: no gradient reaches the weights of {name} or of its copy (it has none that learn, "
            "cuts the gradient by torch.no_grad or detach, or keeps its layers where copy.deepcopy doesn't see them); "
            "mend it, or freeze it from the start by --freeze-at 0"
        )
    return clone


@torch.no_grad()
def _refuse_hidden_state(module: nn.Module, learnt: nn.Module, images: Tensor) -> None:
    """Refuse a module that changes, by learning, what its `state_dict` lacks, such as a mean in a plain attribute.

    `learnt` is its copy after a pass. Targets and resumed runs get the `state_dict` alone.
    """
    loaded = copy.deepcopy(module)
    loaded.load_state_dict(learnt.state_dict())
    with evaluation_mode(learnt), evaluation_mode(loaded):
        features, restored = (each(images.clone()).float() for each in (learnt, loaded))
    if not _alike(restored, features, MOST_LOST):
        raise SettingError(
            f"--encoder-factory: {type(module).__name__} changes, as it learns, numbers that its state_dict() lacks, "
            "so that checkpoints and the target network would lose them: keep them by register_buffer, persistent"
        )


def _alike(one: Tensor, other: Tensor, most: float = MOST_DIFFERENCE) -> bool:
    return bool((one - other).abs().max() <= most * other.abs().max())
