"""Ids that name something else than they seem to: other names of games and tasks, packages of the old gym."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import pytest

from seer.envs import ids
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.errors import SettingError

PONG, SWINGUP = "did you mean 'ALE/Pong-v5'", "did you mean 'dm_control/cartpole-swingup-v0'"


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("ale_py:ALE/Pong-v5", PONG),
        ("ale_py:ALE/Pong", PONG),
        ("third_party:ALE/Pong-v5", PONG),
        ("ale_py:ALE/Pogn-v5", PONG),
        ("ale_py:PongNoFrameskip-v4", PONG),
        ("PongNoFrameskip-v4", PONG),
        ("Pong-v4", PONG),
        ("Pong-v0", PONG),
        ("ale_py:Pong", PONG),
        ("dm_control:dm_control/cartpole-swingup-v0", SWINGUP),
        ("shimmy:dm_control/cartpole-swingup-v0", SWINGUP),
        ("dm_control:cartpole-swingup", SWINGUP),
        ("dm_control/cartpole-swingup-v3", SWINGUP),
    ],
)
@pytest.mark.parametrize("render_pixels", [False, True])
def test_other_names_of_games_and_tasks_are_refused(env_id: str, said: str, render_pixels: bool) -> None:
    """Gymnasium would make them, with sticky actions, another frame skip and no lives."""
    with pytest.raises(SettingError, match=said) as refusal:
        GymnasiumEnvironment(env_id, render_pixels=render_pixels)
    assert "\n" not in str(refusal.value)


def test_a_game_that_somebody_registered_anew_says_what_it_lacks() -> None:
    gymnasium.register("Mine-v0", "ale_py.env:AtariEnv", kwargs={"game": "pong", "frameskip": 4})
    try:
        assert "without the paper's protocol" in GymnasiumEnvironment("Mine-v0").account
    finally:
        del gymnasium.registry["Mine-v0"]
    assert "protocol" not in GymnasiumEnvironment("third_party:Shows-v0").account


@pytest.fixture
def nes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package that can be imported and registers nothing with Gymnasium."""
    module = ModuleType("nes_world")
    monkeypatch.setitem(sys.modules, "nes_world", module)
    return module


@pytest.mark.parametrize("registry", [{"World-v0": None}, SimpleNamespace(env_specs={"World-v0": None})])
def test_what_is_registered_with_the_old_gym_is_told(
    nes: ModuleType, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gym = ModuleType("gym")
    gym.envs = SimpleNamespace(registry=registry)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gym", gym)
    with pytest.raises(SettingError, match="nes_world registers with the old gym; register it with Gymnasium"):
        GymnasiumEnvironment("nes_world:World-v0")


@pytest.mark.parametrize(("requires", "is_old"), [(["gym>=0.19"], True), (["gymnasium", "gym-notices"], False)])
def test_a_package_that_wants_the_old_gym_is_known_by_it(
    nes: ModuleType, requires: list[str], is_old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ids.importlib.metadata, "packages_distributions", lambda: {"nes_world": ["nes-world"]})
    monkeypatch.setattr(ids.importlib.metadata, "requires", lambda _package: requires)
    with pytest.raises(SettingError) as refusal:
        GymnasiumEnvironment("nes_world:World-v0")
    assert ("old gym" in str(refusal.value)) == is_old


def test_only_a_module_s_own_ids_are_meant(nes: ModuleType) -> None:
    """Not 'nes_world:CartPole-v1', whose module has nothing to do with it."""
    with pytest.raises(SettingError, match=r"nes_world registers no environment of that name and version$"):
        GymnasiumEnvironment("nes_world:CartPol-v1")
