"""Settings as differences: what a run changes of its environment's preset, by dotted name of the field in `Config`."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from seer.config import Config
from seer.presets import change, preset
from seer.registry import Settings, Value
from seer.validation import validate

ENCODERS = ("freeze.encoder_from", "freeze.encoder_factory")
"""Settings that bring an encoder, which is frozen from the start."""


def _flags(part: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give dotted name and flag of each field, those of nested groups first."""
    hints = get_type_hints(part, include_extras=True)
    fields = sorted(dataclasses.fields(part), key=lambda field: not dataclasses.is_dataclass(hints[field.name]))
    for field in fields:
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _flags(hint, f"{field.name}.")  # type: ignore[arg-type]
            continue
        names = [name for each in getattr(hint, "__metadata__", ()) if (name := getattr(each, "name", None))]
        yield prefix + field.name, (names or [field.name])[0].replace("_", "-")


FLAGS: Mapping[str, str] = dict(_flags(Config))
"""The flag of `seer train` for each setting: {"freeze.at": "freeze-at", "steps": "steps", ...}."""


def flags_for(config: Config) -> Mapping[str, str]:
    """Return `FLAGS`, and those that only its agent has."""
    return {**FLAGS, **dict(_flags(type(config.own), "own."))}


def resolve(env: str, settings: Settings) -> Config:
    """Return the checked config of an environment: its preset with these settings changed.

    Raises:
        SettingError: there is no such environment, or a setting is wrong.
    """
    agent: Any = settings.get("agent")
    brings_encoder = any(settings.get(name) is not None for name in ENCODERS)
    return validate(change(preset(env, agent, transfer=brings_encoder), settings))


def value_of(config: Config, name: str) -> Value:
    """Return what a config holds in the field of this dotted name."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    found: Value = value
    return found


def flags_of(config: Config) -> list[str]:
    """Return the flags with which `seer train` resolves to this config: those that change its environment's preset."""
    brings_encoder = any(value_of(config, name) is not None for name in ENCODERS)
    base = preset(config.env, transfer=brings_encoder)
    flags = ["--env", config.env]
    if base.agent != config.agent:
        base = preset(config.env, config.agent, transfer=brings_encoder)
        flags += ["--agent", config.agent]
    flags += ["--seed", str(config.seed)]
    for name, flag in flags_for(config).items():
        value = value_of(config, name)
        if name == "seed" or value == value_of(base, name):
            continue
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", *(value if isinstance(value, tuple) else [str(value)])]
    return flags
