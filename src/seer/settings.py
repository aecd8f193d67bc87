"""Settings as differences: what a run changes of its environment's preset, by dotted name of the field in `Config`."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from seer.config import Config, config_from_json, fields_with
from seer.envs.kwargs import in_one_form
from seer.envs.registry import suite_of
from seer.errors import SettingError, naming
from seer.fields import Value, value_of
from seer.presets import change, preset
from seer.registry import Settings
from seer.runs.folder import RunFolder
from seer.validation import validate

ENCODERS = ("freeze.encoder_from", "freeze.encoder_factory")
"""Settings that bring an encoder, which is frozen from the start unless `freeze.at` says otherwise."""

SOURCE = "freeze.agent_from"
"""The setting that brings a whole agent, and the settings of the run that trained it."""


def resolve(env: str | None, settings: Settings) -> Config:
    """Return the checked config of an environment: its preset with these settings changed.

    With `SOURCE` the settings of that run stand in the preset's place; its environment too, where `env` is None.
    """
    agent: Any = settings.get("agent")
    given: Any = settings.get("env_kwargs")
    kwargs = in_one_form(given or ())
    if given is not None:
        settings = {**settings, "env_kwargs": kwargs}
    source = settings.get(SOURCE)
    if source is not None:
        return validate(change(settings_of_source(str(source), env, agent), settings))
    assert env is not None
    brings_encoder = any(settings.get(name) is not None for name in ENCODERS)
    return validate(change(preset(env, agent, transfer=brings_encoder, env_kwargs=kwargs), settings))


def settings_of_source(source: str, env: str | None = None, agent: str | None = None) -> Config:
    """Return the settings with which a run begins that starts with the agent of the run `source`."""
    with naming(f"--from {source}"):
        folder = RunFolder.open(Path(source))
        if folder.is_shared:
            raise SettingError("seer card wrote it, without what an agent learns on with; give the run's own folder")
        theirs = config_from_json(folder.config)
    if agent not in (None, theirs.agent):
        raise SettingError(
            f"--agent {agent}: the agent of --from {source} is {theirs.agent}; leave it out, or take the encoder alone "
            f"by --encoder-from"
        )
    if env is not None and suite_of(env) is not suite_of(theirs.env):
        raise SettingError(
            f"--from {source}: its agent has played {theirs.env}, and {env} is of another kind; give one of "
            f"{suite_of(theirs.env).label}"
        )
    begun_anew: dict[str, Value] = {
        "env": env or theirs.env, "out": None, "planned_steps": None, SOURCE: source, "freeze.at": "0",
        "freeze.latest": None, "freeze.encoder_from": None, "freeze.encoder_weights": None,
        "freeze.keep_optimizers": False,
    }  # fmt: skip
    same_env = env in (None, theirs.env)
    return change(theirs, begun_anew if same_env else begun_anew | {"env_kwargs": ()})


def flags_of(config: Config) -> list[str]:
    """Return the flags with which `seer train` resolves to this config: those that change its environment's preset."""
    flags = ["--env", config.env]
    base: Config | None = None
    if config.freeze.agent_from is not None:
        flags += ["--from", config.freeze.agent_from]
        with suppress(SettingError):  # that run may have gone: then all settings are told
            base = settings_of_source(config.freeze.agent_from, config.env)
    else:
        brings_encoder = any(value_of(config, name) is not None for name in ENCODERS)
        base = preset(config.env, transfer=brings_encoder, env_kwargs=config.env_kwargs)
        if config.env_kwargs:
            flags += ["--env-kwargs", *config.env_kwargs]
        if base.agent != config.agent:
            base = preset(config.env, config.agent, transfer=brings_encoder, env_kwargs=config.env_kwargs)
            flags += ["--agent", config.agent]
    flags += ["--seed", str(config.seed)]
    for field in fields_with(config.own):
        value = value_of(config, field.name)
        if field.name in ("env", "seed", SOURCE) or value == ():
            continue
        if base is not None and value == value_of(base, field.name):
            continue
        if isinstance(value, bool):
            flags.append(f"--{field.flag}" if value else f"--no-{field.flag}")
        else:
            flags += [f"--{field.flag}", *(value if isinstance(value, tuple) else [str(value)])]
    return flags
