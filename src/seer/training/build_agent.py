"""Build the agent of a config."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces import Discrete

from seer.agents.agent import Agent
from seer.agents.inputs import AgentInputs
from seer.agents.registry import AGENTS, refuse_other_actions
from seer.config import Config
from seer.core.encoder import FreezableEncoder
from seer.core.packing import Packing
from seer.envs.base import PixelEnvironment
from seer.errors import SettingError
from seer.networks.encoders import assemble, encoder_stages
from seer.networks.own_module import load_module
from seer.networks.sensors import assemble_sensors
from seer.system_info import own_bytes
from seer.training.build_replay import free_on
from seer.training.computing import pick_convolution, pick_precision

COPIES = 5
"""Copies of every weight: online, target, gradient and Adam's two moments."""


def build_agent(
    config: Config, environment: PixelEnvironment, device: torch.device, seeds: Sequence[int] = (0, 0, 0, 0)
) -> Agent[Any]:
    """Return the agent; `seeds` are those of weights, noise or policy, exploration, and crops.

    Raises:
        SettingError: the agent can't act in this environment, or its encoder doesn't fit the images.
    """
    torch.manual_seed(seeds[0])  # initial weights come from torch's global generator, and nothing else does
    spec = AGENTS[config.agent]
    if isinstance(environment.action_space, Discrete):
        _refuse_too_many_actions(config, int(environment.action_space.n), device)
        refuse_other_actions(spec, "discrete", config.env)
    else:
        refuse_other_actions(spec, "continuous", config.env)
    inputs = AgentInputs(
        learning=config.learning,
        value=config.value,
        sac=config.sac,
        own=config.own,
        image_size=config.image.size,
        view_size=config.view_size,
        num_crops=config.freeze.num_crops,
        action_space=environment.action_space,
        device=device,
        precision=pick_precision(config),
        make_encoder=functools.partial(build_encoder, config, environment),
        brings_encoder=config.freeze.encoder_factory is not None,
        seeds=seeds,
    )
    return spec.build(inputs)


def _refuse_too_many_actions(config: Config, count: int, device: torch.device) -> None:
    """Refuse so many actions that the layer with one output per action and atom takes more memory than is free."""
    value, learning = config.value, config.learning
    weights = count * (value.num_atoms if value.distributional else 1) * learning.hidden_units * (1 + value.noisy)
    needed, free = COPIES * 4 * weights, free_on(device) + own_bytes() * (device.type == "cpu")
    if needed > free:
        raise SettingError(
            f"--env {config.env} has {count:,} actions: networks of one output for each take {needed / 1e9:,.2f} GB, "
            f"and {free / 1e9:.2f} GB are free here; give the environment fewer actions, or continuous ones"
        )


def build_encoder(
    config: Config, environment: PixelEnvironment, *, projections: int = 0, **options: Any
) -> FreezableEncoder:
    """Return the encoder; with `projections` above its convolutions, one for each of critic and actor.

    `options` are `FreezableEncoder`'s own.
    """
    channels, *_ = environment.frame_shape
    freeze, stack = config.freeze, environment.stack
    own = None if freeze.encoder_factory is None else load_module(freeze.encoder_factory)
    make_stages = functools.partial(
        encoder_stages,
        config.learning.encoder if own is None else own,
        stack=stack,
        split=freeze.layers != "all",
        pool=freeze.latent_pool,
    )
    above: dict[str, Any] = {"projections": projections, "feature_size": config.sac.latent_size}
    if environment.packing is None:
        stages = make_stages((channels, config.view_size, config.view_size), **above)
        make = functools.partial(assemble, stages)
    else:
        _refuse_wide_vectors(config, environment.packing)
        make = functools.partial(
            assemble_sensors, lambda _, shape: make_stages(shape), environment.packing, stack=stack, **above
        )
    frozen = None if freeze.layers == "all" else int(freeze.layers)
    if own is not None and frozen is None and config.freeze_step == 0 and freeze.agent_from is None:
        frozen = 1 + (freeze.latent_pool is not None)  # projections never learnt before, so they do now
    return make(
        frozen_stages=frozen,
        precision=pick_precision(config) if own is None else torch.float32,
        convolution="direct" if projections else pick_convolution(config),
        latent_dtype=freeze.latent_dtype,
        **options,
    )


def _refuse_wide_vectors(config: Config, packing: Packing) -> None:
    """Refuse float16 for vectors that aren't normalised, as none were seen before the freeze."""
    freeze = config.freeze
    starts_raw = config.freeze_step == 0 and freeze.encoder_from is None and freeze.agent_from is None
    if packing.vectors and freeze.latent_dtype == "float16" and starts_raw:
        raise SettingError(
            "--latent-dtype float16 ends at 65,504, and vectors are stored as they are where the encoder is frozen "
            "from the start: use float32 or bfloat16, or --vectors none"
        )
