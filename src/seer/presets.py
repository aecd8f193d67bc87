"""The paper's settings for an environment and an agent: those of its suite, and over them the agent's."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from seer.agents.registry import AGENTS, DEFAULTS, refuse_other_actions
from seer.config import Config
from seer.envs.registry import suite_of
from seer.registry import Settings


def preset(env: str, agent: str | None = None, *, transfer: bool = False, env_kwargs: Sequence[str] = ()) -> Config:
    """Return the paper's settings; by default Rainbow for discrete actions and CURL for continuous ones.

    `transfer`: the encoder is another run's or a module of the user's, and frozen from the start by default.
    `env_kwargs`: on which the actions may depend.

    Raises:
        SettingError: there is no such agent, it can't act there, or Gymnasium can't make the environment.
    """
    suite = suite_of(env)
    spec = AGENTS[agent or DEFAULTS[suite.actions_of(env, env_kwargs)]]
    if not callable(suite.actions):  # others are made first
        refuse_other_actions(spec, suite.actions, env)
    config = Config(env=env, env_kwargs=tuple(env_kwargs), agent=spec.name, own=spec.own_settings())
    settings = {**suite.preset(env, spec.actions), **spec.preset_for(env)}
    return change(config, settings | {"freeze.at": "0"} if transfer else settings)


def change(config: Config, settings: Settings) -> Config:
    """Return the config with other values in the fields that `settings` names."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        group, _, field = name.rpartition(".")
        groups.setdefault(group, {})[field] = value
    own = groups.pop("", {})
    nested = {group: dataclasses.replace(getattr(config, group), **values) for group, values in groups.items()}
    return dataclasses.replace(config, **own, **nested)
