"""Starting with what another run has learnt: its whole agent, or its encoder alone (SEER, section 5.4)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seer.agents.agent import Agent
from seer.agents.optimizers import load_optimizer
from seer.agents.registry import AGENTS
from seer.config import Config, config_from_json
from seer.envs.registry import suite_of
from seer.errors import SettingError, naming, shortened
from seer.networks.own_module import load_weights, own_module
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, step_of
from seer.runs.folder import RunFolder
from seer.runs.snapshots import FOLDER, Weights, read_last, read_snapshot, snapshot_step
from seer.training.build_environment import shown_channels

PREFIX = "online.encoder."


def adopt_agent(agent: Agent[Any], config: Config) -> tuple[int, str]:
    """Give a new agent all that the agent of `--from` has learnt, and return that one's training step and environment.

    Networks, targets and the number of exploring actions; optimisers with `--keep-optimizers`, at the learning rates of
    `config`. Random numbers stay the new agent's own.
    """
    source = f"--from {config.freeze.agent_from}"
    run = Path(str(config.freeze.agent_from))
    if run.is_file():
        raise SettingError(f"{source} is a file: give the run's folder; one of its {FOLDER} holds no whole agent")
    theirs = _settings_of(source, run)
    _refuse_other_traits(f"{source}: its agent", _agent_traits, theirs, config)
    with naming(source):
        checkpoint = latest_checkpoint(run / "checkpoints")
        state = load_checkpoint(checkpoint)["agent"]
    weights = _named(state["modules"])
    ours = _named({name: module.state_dict() for name, module in agent.modules().items()})
    if found := _differences(_shapes(weights), _shapes(ours)):  # as the settings are the same, the actions are others
        raise SettingError(
            f"{source}: its heads don't fit the actions of {config.env} ({found[0]}); --encoder-from "
            f"{config.freeze.agent_from} takes its encoder alone, below new heads"
        )
    for name, module in agent.modules().items():
        module.load_state_dict(state["modules"][name])
    if config.freeze.keep_optimizers:
        _adopt_optimizers(source, agent, state["optimizers"])
    agent.decisions = state["decisions"]
    return step_of(checkpoint), theirs.env


def adopt_encoder(agent: Agent[Any], config: Config) -> int:
    """Give a new agent the encoder that `--encoder-from` names, all of its layers, and return its training step."""
    place = Path(str(config.freeze.encoder_from))
    source = f"--encoder-from {place}"
    step, weights = _read(place)
    theirs = _settings_of(source, place.parents[1] if place.is_file() else place)
    _refuse_other_traits(f"{source}: its encoder", _traits, theirs, config)
    encoder = {key.removeprefix(PREFIX): weight for key, weight in weights.items() if key.startswith(PREFIX)}
    shapes = (_shapes(tensors) for tensors in (encoder, agent.online.encoder.state_dict()))
    _refuse_differences(f"{source}: its encoder", *shapes)
    if not all(bool(torch.isfinite(weight).all()) for weight in encoder.values()):  # of a snapshot: nothing checked it
        raise SettingError(f"{source}: its encoder has weights that are nan or infinite")
    for network in (agent.online, agent.target):
        network.encoder.load_state_dict(encoder)
    return step


def adopt_weights(agent: Agent[Any], file: Path) -> None:
    """Give a module of `--encoder-factory` the weights of a safetensors file; SettingError where they don't fit it."""
    for network in (agent.online, agent.target):
        module = own_module(network.encoder.stages)
        assert module is not None
        load_weights(module, file)


def _adopt_optimizers(source: str, agent: Agent[Any], states: dict[str, Any]) -> None:
    """Go on with optimisers that the other run still has: a frozen encoder's are gone."""
    for name, optimizer in agent.optimizers.items():
        if name not in states:
            continue
        try:
            load_optimizer(optimizer, states[name])
        except (ValueError, KeyError) as error:
            raise SettingError(
                f"--keep-optimizers: those of {source} don't fit ({shortened(error)}); give its --freeze-layers, or "
                "leave --keep-optimizers out"
            ) from error
        for group in optimizer.param_groups:
            group.update(optimizer.defaults)


def _read(source: Path) -> tuple[int, Weights]:
    if source.is_file():
        step = snapshot_step(source)
        if source.parent.name != FOLDER or step is None:
            raise SettingError(f"--encoder-from {source} is neither a run folder nor one of its {FOLDER}")
        return step, read_snapshot(source)
    with naming("--encoder-from"):
        RunFolder.open(source)
        return read_last(source)


def _settings_of(source: str, run: Path) -> Config:
    with naming(source):
        return config_from_json(RunFolder.open(run).config)


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


def _agent_traits(config: Config) -> dict[str, Any]:
    """Return the settings that an agent's weights depend on, for their shapes or for what they mean."""
    value = config.value
    support = (value.num_atoms, value.min_return, value.max_return) if value.distributional else (None,) * 3
    return _traits(config) | {
        "--agent": config.agent,
        "--encoder-factory": config.freeze.encoder_factory,
        "--hidden-units": config.learning.hidden_units,
        "--dueling": value.dueling,
        "--noisy": value.noisy,
        "--distributional": value.distributional,
        **dict(zip(("--num-atoms", "--min-return", "--max-return"), support, strict=True)),
    }


def _named(modules: dict[str, Weights]) -> Weights:
    return {f"{name}.{key}": weight for name, module in modules.items() for key, weight in module.items()}


def _shapes(tensors: Weights) -> dict[str, Any]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _refuse_other_traits(what: str, traits: Callable[[Config], dict[str, Any]], theirs: Config, ours: Config) -> None:
    """Refuse settings that weights depend on; of one environment also the order of cameras and vectors, by position."""
    pair = [traits(theirs), traits(ours)]
    if theirs.env == ours.env:
        for each, config in zip(pair, (theirs, ours), strict=True):
            seen = {"--cameras": config.image.cameras, "--vectors": config.image.vectors}
            each |= {flag: " ".join(names) or "not given" for flag, names in seen.items()}
    _refuse_differences(what, *pair)


def _refuse_differences(what: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    if found := _differences(theirs, ours):
        raise SettingError(f"{what} doesn't fit ({'; '.join(found)}); make them the same")


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    return [f"{name}: {theirs.get(name)} there, {ours.get(name)} here" for name in names]
