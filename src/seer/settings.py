"""Settings as differences: what a run changes of its environment's preset, by dotted name of the field in `Config`."""

from collections.abc import Mapping
from typing import Any

from seer.config import FIELDS, Config, fields_with
from seer.fields import value_of
from seer.presets import change, preset
from seer.registry import Settings
from seer.validation import validate

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


def flags_of(config: Config) -> list[str]:
    """Return the flags with which `seer train` resolves to this config: those that change its environment's preset."""
    brings_encoder = any(value_of(config, name) is not None for name in ENCODERS)
    base = preset(config.env, transfer=brings_encoder)
    flags = ["--env", config.env]
    if base.agent != config.agent:
        base = preset(config.env, config.agent, transfer=brings_encoder)
        flags += ["--agent", config.agent]
    flags += ["--seed", str(config.seed)]
    for field in fields_with(config.own):
        value = value_of(config, field.name)
        if field.name == "seed" or value == value_of(base, field.name):
            continue
        if isinstance(value, bool):
            flags.append(f"--{field.flag}" if value else f"--no-{field.flag}")
        else:
            flags += [f"--{field.flag}", *(value if isinstance(value, tuple) else [str(value)])]
    return flags
