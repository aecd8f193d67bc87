"""From a config to the agent."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces import Discrete

from seer.agents.agent import Agent
from seer.agents.inputs import AgentInputs
from seer.agents.registry import AGENTS, refuse_other_actions
from seer.config import Config
from seer.envs.base import PixelEnvironment
from seer.errors import SettingError
from seer.networks.encoders import (
    CONVOLUTIONS,
    Encoder,
    Pooling,
    Projections,
    convolution_stages,
    impala_stages,
)
from seer.pretrained import ModuleStage, load_module
from seer.replay import LATENT_DTYPES, RowFormat
from seer.system_info import own_bytes
from seer.training.build_replay import free_on
from seer.training.computing import pick_convolution, pick_precision

COPIES = 5
"""Of every weight: online, target, gradient and Adam's two moments."""


def build_agent(
    config: Config, environment: PixelEnvironment, device: torch.device, seeds: Sequence[int] = (0, 0, 0, 0)
) -> Agent[Any]:
    """The agent; `seeds` are of weights, noise or policy, exploration, and crops.

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
        view_size=config.view_size,
        num_crops=config.freeze.num_crops,
        action_space=environment.action_space,
        device=device,
        precision=pick_precision(config),
        make_encoder=functools.partial(build_encoder, config, environment),
        brings_encoder=config.freeze.encoder_factory is not None,
        seeds=seeds,
    )
    agent = spec.build(inputs)
    agent.latent = RowFormat(agent.latent.shape, LATENT_DTYPES[config.freeze.latent_dtype])
    return agent


def _refuse_too_many_actions(config: Config, count: int, device: torch.device) -> None:
    """SettingError where the layer of one output per action and atom takes more memory than is free."""
    value, learning = config.value, config.learning
    weights = count * (value.num_atoms if value.distributional else 1) * learning.hidden_units * (1 + value.noisy)
    needed, free = COPIES * 4 * weights, free_on(device) + own_bytes() * (device.type == "cpu")
    if needed > free:
        raise SettingError(
            f"--env {config.env} has {count:,} actions: networks of one output for each take {needed / 1e9:,.2f} GB, "
            f"and {free / 1e9:.2f} GB are free here; give the environment fewer actions, or continuous ones"
        )


def build_encoder(config: Config, environment: PixelEnvironment, *, projections: int = 0) -> Encoder:
    """The encoder; with `projections` above its convolutions, one for each of critic and actor."""
    channels, *_ = environment.frame_shape
    shape = (channels, config.view_size, config.view_size)
    stack, name = environment.stack, config.learning.encoder
    precision, layers = pick_precision(config), config.freeze.layers
    if config.freeze.encoder_factory is not None:
        module = load_module(config.freeze.encoder_factory)
        stages: list[torch.nn.Module] = [ModuleStage(module, (stack * channels, *shape[1:]))]
        precision = torch.float32
    elif name == "impala":
        stages = impala_stages(shape, stack=stack)
    else:
        stages = convolution_stages(shape, stack=stack, layers=CONVOLUTIONS[name])
    if config.freeze.latent_pool is not None:
        stages.append(Pooling(stages[-1].output_shape, config.freeze.latent_pool))  # type: ignore[arg-type]
    if config.freeze.encoder_factory is not None:
        layers = str(len(stages))  # projections above it go on learning
    if projections:
        maps = stages[-1].output_shape
        stages.append(Projections(maps, latents=projections, latent_size=config.sac.latent_size))  # type: ignore[arg-type]
    frozen = None if layers == "all" else int(layers)
    return Encoder(stages, frozen_stages=frozen, precision=precision, convolution=pick_convolution(config))
