"""Pictures that could be taken for others: of zeros and ones, of frames stacked already, with channels first."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

import third_party
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.errors import RunError, SettingError
from tiny_run import seer


def stacking(**options: Any) -> gymnasium.Env[Any, Any]:
    return FrameStackObservation(third_party.Shows(**options), 3)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    yield
    for name in ("Seen-v0", "Stacks-v0"):
        gymnasium.registry.pop(name, None)


def make(space: spaces.Space[Any]) -> GymnasiumEnvironment:
    gymnasium.register("Seen-v0", third_party.Shows, kwargs={"observations": space})
    return GymnasiumEnvironment("Seen-v0", image_size=84, stack=2)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0, 1, {0: 0, 1: 255}), (0, 5, {0: 0, 2: 102, 5: 255}), (10, 12, {10: 0, 11: 128, 12: 255}), (0, 255, {7: 7})],
)
@pytest.mark.parametrize("shape", [(84, 84, 1), (84, 84)])
def test_pictures_are_scaled_by_their_own_bounds(
    low: int, high: int, shown: dict[int, int], shape: tuple[int, ...]
) -> None:
    environment = make(spaces.Box(low, high, shape, np.uint8))
    observation, _ = environment.reset(seed=0)
    twin: Any = third_party.Shows(observations=spaces.Box(low, high, shape, np.uint8))
    raw = twin.reset(seed=environment.state_dict()["simulator"]["seed"])[0].reshape(84, 84)
    assert observation.max() > 200
    for value, level in shown.items():
        assert (observation[-1, 0][raw == value] == level).all()
    assert (f"its pixels of {low} to {high} are shown" in environment.account) == (high != 255)
    assert environment.render().max() == observation.max()


def test_pictures_beyond_their_bounds_or_shape_and_bounds_without_room_are_refused() -> None:
    environment = make(spaces.Box(0, 1, (84, 84), np.uint8))
    environment._env.observation_space.sample = lambda: np.full((84, 84), 200, np.uint8)
    with pytest.raises(RunError, match="values from 200 to 200, but its observation space says 0 to 1"):
        environment.reset(seed=0)
    environment._env.observation_space.sample = lambda: np.zeros((96, 84), np.uint8)
    with pytest.raises(
        RunError, match=r"its observation is \[96, 84, 1\] \[H, W, C\], not \[84, 84, 1\], as its space"
    ):
        environment.reset(seed=0)
    del gymnasium.registry["Seen-v0"]
    with pytest.raises(SettingError, match="the pixels of its observation are all 3"):
        make(spaces.Box(3, 3, (84, 84), np.uint8))


@pytest.mark.parametrize(
    ("shape", "frames"), [((4, 84, 84), 4), ((84, 84, 4), 4), ((12, 64, 80), 12), ((4, 84, 84, 3), 4)]
)
def test_frames_that_look_stacked_are_named(shape: tuple[int, ...], frames: int) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    for seen in (space, spaces.Dict({"camera": space})):
        with pytest.raises(SettingError, match=f"looks like {frames} frames stacked already: register it without"):
            make(seen)
        del gymnasium.registry["Seen-v0"]


@pytest.mark.parametrize("shape", [(5, 7, 2), (84,), (2, 84, 8)])
def test_other_arrays_aren_t_called_stacked(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match="shows no picture") as refusal:
        make(spaces.Box(0, 255, shape, np.uint8))
    assert "stacked" not in str(refusal.value)


@pytest.mark.parametrize("shape", [(84, 84), (84, 84, 1), (84, 84, 3)])
def test_a_wrapper_that_stacks_is_refused(shape: tuple[int, ...]) -> None:
    gymnasium.register("Stacks-v0", stacking, kwargs={"shape": shape})
    with pytest.raises(SettingError, match="Stacks-v0 stacks 3 frames itself: register it without frame stacking"):
        GymnasiumEnvironment("Stacks-v0")


def test_three_planes_of_one_picture_or_of_three_moments_are_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert make(spaces.Box(0, 255, (48, 80, 3), np.uint8)).question is None
    del gymnasium.registry["Seen-v0"]
    assert make(spaces.Box(0, 255, (3, 48, 80), np.uint8)).question
    train = ("train", "--env", "Seen-v0", "--agent", "dqn", "--steps", 3000, "--freeze-at", 2000, "--dry-run")
    assert seer(*train) == 2
    assert "one RGB picture or three grey ones stacked: if it is one, say --image-channels" in capsys.readouterr().err
