"""Pictures of a simulator become the observations that the run's environment shows."""

import json
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import seer
from kept_run import PONG, keep_run
from seer.core.packing import Packing
from seer.envs.actions import ActionTranslation
from seer.errors import SettingError
from seer.trained.interface import Interface, interface_from_json
from seer.trained.preparation import Preparation, SensorPreparation

GREY, RGB = Preparation((1, 8, 8), (0, 255), ""), Preparation((3, 8, 8), (0, 255), "")


def test_an_atari_console_played_by_hand_shows_the_same_observations(tmp_path: Path) -> None:
    """Colours as ALE gives them, its last two pictures, and no preprocessing of Gymnasium's."""
    keep_run(tmp_path / "run", "rainbow", *PONG)
    agent = seer.load(tmp_path / "run")
    env = agent.make_env(seed=3)
    expected, _ = env.reset()
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    console = gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0).unwrapped
    console.ale.restoreState(env.unwrapped._console.ale.cloneState(include_rng=True))  # type: ignore[attr-defined]
    agent.observe(np.zeros((210, 160, 3), np.uint8))
    agent.reset()
    observation = agent.observe(env.render())  # type: ignore[arg-type]  # the restored console draws at its next frame
    for _ in range(12):
        assert np.array_equal(observation, expected)
        action = agent.act(observation)
        shown = [console.step(action)[0] for _ in range(4)]
        observation = agent.observe(shown[2], shown[3])
        expected, *_ = env.step(action)


@pytest.mark.parametrize("flags", [("dqn",), ("drqv2",), ("dqn", "--env", "third_party:Mask-v0")])
def test_an_environment_of_gymnasium_played_by_hand_shows_the_same(flags: tuple[str, ...], tmp_path: Path) -> None:
    """Grey frames, colours, and pixels of 0 and 1, of its observations as they are."""
    keep_run(tmp_path / "run", *flags)
    agent = seer.load(tmp_path / "run")
    env = agent.make_env(seed=3)
    expected, _ = env.reset()
    for _ in range(5):
        picture = env.unwrapped._env.unwrapped.shown  # type: ignore[attr-defined]
        observation = agent.observe(picture)
        assert np.array_equal(observation, expected)
        assert np.array_equal(agent.prepare(picture), expected[-1])
        expected, *_ = env.step(agent.act(observation))
    observation[:] = 0
    assert agent.observe(picture).any(axis=(1, 2, 3)).all(), "the stack is the agent's own"


def test_bounds_are_black_and_white_and_several_pictures_give_their_largest_values() -> None:
    few = Preparation((1, 4, 4), (0, 1), "")
    lit = np.zeros((4, 4), np.uint8)
    lit[1] = 1
    assert few(lit, lit.T)[0].tolist() == (255 * (lit | lit.T)).tolist()
    colours = np.zeros((3, 16, 16), np.uint8)
    colours[1] = 100
    assert GREY(colours)[0].tolist() == np.full((8, 8), 59).tolist()
    assert RGB(colours)[1].tolist() == np.full((8, 8), 100).tolist()


@pytest.mark.parametrize(
    ("prepare", "given", "words"),
    [
        (GREY, [np.zeros((9, 9))], "the picture is float64 [9, 9], not uint8"),
        (GREY, [np.zeros((9, 9, 4), np.uint8)], "uint8 [9, 9, 4], not uint8 [H, W, 1 or 3]"),
        (GREY, [[[0]]], "the picture is list"),
        (GREY, [], "no picture is given"),
        (GREY, [np.zeros((9, 9), np.uint8), np.zeros((8, 9), np.uint8)], "differ in shape"),
        (RGB, [np.zeros((9, 9), np.uint8)], "the picture is grey, and this agent sees RGB"),
        (Preparation((2, 8, 8), (0, 255), ""), [np.zeros((9, 9), np.uint8)], "make [2, 8, 8] by hand"),
        (Preparation((1, 8, 8), (0, 1), ""), [np.full((9, 9), 7, np.uint8)], "says 0 to 1"),
    ],
)
def test_what_is_no_picture_is_one_line(prepare: Preparation, given: list[Any], words: str) -> None:
    with pytest.raises(seer.SettingError) as caught:
        prepare(*given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [(), ({"joints": [1.0]}, {"joints": [1.0]}), (np.zeros((8, 8, 3), np.uint8),)])
def test_several_cameras_and_vectors_come_as_one_dict(given: tuple[Any, ...]) -> None:
    prepare = SensorPreparation(Packing({"front": (3, 8, 8)}, {"joints": 1}), {}, "")
    with pytest.raises(SettingError, match="give one dict, as this agent sees 'front', 'joints'"):
        prepare(*given)


def test_sorting_the_keys_of_a_shared_file_swaps_no_cameras() -> None:
    packing = Packing({"wrist": (3, 8, 8), "front": (3, 8, 8)}, {"joints": 2, "gripper": 2})
    interface = Interface(3, SensorPreparation(packing, {}, ""), ActionTranslation(spaces.Discrete(2)))
    record = json.loads(json.dumps(interface.to_json(), sort_keys=True))
    found = interface_from_json(record).packing
    assert found is not None
    assert [*found.cameras, *found.vectors] == ["wrist", "front", "joints", "gripper"]
    record["order"]["cameras"] = ["wrist"]
    with pytest.raises(SettingError, match="the agent's interface can't be read"):
        interface_from_json(record)
