"""Starting with the encoder of another run (SEER, section 5.4)."""

from pathlib import Path
from typing import Any

import torch

from seer.agents.agent import Agent
from seer.agents.registry import AGENTS
from seer.config import Config, config_from_json
from seer.core.module_stage import ModuleStage
from seer.envs.registry import suite_of
from seer.errors import SettingError
from seer.networks.own_module import load_weights
from seer.runs.folder import RunFolder
from seer.runs.snapshots import FOLDER, Weights, read_last, read_snapshot, step_of
from seer.training.build_environment import shown_channels

PREFIX = "online.encoder."


def adopt_encoder(agent: Agent[Any], config: Config) -> int:
    """Give a new agent the encoder that `--encoder-from` names, all of its layers, and return its training step.

    SettingError where there is no such run or snapshot, or its encoder isn't the one that `config` asks for.
    """
    source = Path(str(config.freeze.encoder_from))
    step, weights = _read(source)
    run = source.parents[1] if source.is_file() else source
    try:
        theirs = config_from_json(RunFolder.open(run).config)
    except SettingError as error:
        raise SettingError(f"--encoder-from {source}: {error}") from error
    _refuse_differences(source, _traits(theirs), _traits(config))
    encoder = {key.removeprefix(PREFIX): weight for key, weight in weights.items() if key.startswith(PREFIX)}
    _refuse_differences(source, *(_shapes(tensors) for tensors in (encoder, agent.online.encoder.state_dict())))
    if not all(bool(torch.isfinite(weight).all()) for weight in encoder.values()):
        raise SettingError(f"--encoder-from {source}: its encoder has weights that are nan or infinite")
    for network in (agent.online, agent.target):
        network.encoder.load_state_dict(encoder)
    return step


def adopt_weights(agent: Agent[Any], file: Path) -> None:
    """Give a module of `--encoder-factory` the weights of a safetensors file; SettingError where they don't fit it."""
    for network in (agent.online, agent.target):
        stage = network.encoder.stages[0]
        assert isinstance(stage, ModuleStage)
        load_weights(stage.module, file)


def _read(source: Path) -> tuple[int, Weights]:
    if source.is_file():
        step = step_of(source)
        if source.parent.name != FOLDER or step is None:
            raise SettingError(f"--encoder-from {source} is neither a run folder nor one of its {FOLDER}")
        return step, read_snapshot(source)
    try:
        RunFolder.open(source)
        return read_last(source)
    except SettingError as error:
        raise SettingError(f"--encoder-from: {error}") from error


def _traits(config: Config) -> dict[str, Any]:
    """Return the settings that an encoder's shapes depend on, by the name of the flag."""
    projected = AGENTS[config.agent].projects
    return {
        "environment's kind": f"{suite_of(config.env).label} ({shown_channels(config).replace('rgb', 'RGB')})",
        "--encoder": config.learning.encoder,
        "--latent-pool": config.freeze.latent_pool,
        "--frame-stack": config.image.stack,
        "pixels it sees": config.view_size,
        "projections": "critic's and actor's" if projected else "none",
        "--latent-size": config.sac.latent_size if projected else None,
    }


def _shapes(tensors: Weights) -> dict[str, Any]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _refuse_differences(source: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    if names:
        found = "; ".join(f"{name}: {theirs.get(name)} there, {ours.get(name)} here" for name in names)
        raise SettingError(f"--encoder-from {source}: its encoder doesn't fit ({found}); make them the same")
