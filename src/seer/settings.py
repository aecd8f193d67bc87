"""Settings as differences: what a run changes of its environment's preset, by dotted name of the field in `Config`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from seer.config import FIELDS, Config
from seer.fields import Value, value_of
from seer.presets import preset
from seer.validation import validate

Settings = Mapping[str, Value]
"""Such as {"steps": 100_000, "freeze.at": "never"}."""

ENCODERS = ("freeze.encoder_from", "freeze.encoder_factory")
"""Settings that bring an encoder, which is frozen from the start."""


FLAGS: Mapping[str, str] = {field.name: field.flag for field in FIELDS}
"""The flag of `seer train` for each setting: {"freeze.at": "freeze-at", "steps": "steps", ...}."""


def resolve(env: str, settings: Settings) -> Config:
    """Return the checked config of an environment: its preset with these settings changed.

    Raises:
        SettingError: there is no such environment, or a setting is wrong.
    """
    agent: Any = settings.get("agent")
    brings_encoder = any(settings.get(name) is not None for name in ENCODERS)
    return validate(change(preset(env, agent, transfer=brings_encoder), settings))


def change(config: Config, settings: Settings) -> Config:
    """Return the config with other values in the fields that `settings` names."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        group, _, field = name.rpartition(".")
        groups.setdefault(group, {})[field] = value
    own = groups.pop("", {})
    nested = {group: dataclasses.replace(getattr(config, group), **values) for group, values in groups.items()}
    return dataclasses.replace(config, **own, **nested)


def flags_of(config: Config) -> list[str]:
    """Return the flags with which `seer train` resolves to this config: those that change its environment's preset."""
    brings_encoder = any(value_of(config, name) is not None for name in ENCODERS)
    base = preset(config.env, transfer=brings_encoder)
    flags = ["--env", config.env]
    if base.agent != config.agent:
        base = preset(config.env, config.agent, transfer=brings_encoder)
        flags += ["--agent", config.agent]
    flags += ["--seed", str(config.seed)]
    for name, flag in FLAGS.items():
        value = value_of(config, name)
        if name == "seed" or value == value_of(base, name):
            continue
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", str(value)]
    return flags
