"""Any environment of Gymnasium: what the agent sees and does, exact state, refusals; real third-party packages."""

import json
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

import third_party
from drawing import needs_drawing
from painted_run import make_training
from playing import Transition, assert_same, through_json
from seer.core.freeze_rules import FreezeAt
from seer.envs.base import PixelEnvironment
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.errors import RunError, SettingError
from seer.replay.transitions import End
from seer.runs.folder import read_metrics
from seer.training.loop import collect
from seer.training.return_support import ReturnSupport
from tiny_run import config_of, machine_free_records, seer, stop_in_step

Capture = pytest.CaptureFixture[str]
MINIGRID = "minigrid:MiniGrid-Empty-5x5-v0"
RENDERED: dict[str, Any] = {"render_pixels": True}
REAL = [(MINIGRID, RENDERED), ("CartPole-v1", RENDERED), ("Pendulum-v1", RENDERED)]


def play(environment: PixelEnvironment, *, seed: int, steps: int) -> list[Transition]:
    """`steps` random steps, with resets where they are due; each reset is recorded like a step."""
    environment.action_space.seed(seed)
    record: list[Transition] = []
    for _ in range(steps):
        if environment.state_dict()["needs_reset"]:
            observation, info = environment.reset()
            record.append((observation, 0.0, False, False, info))
        record.append(environment.step(environment.action_space.sample()))
    return record


# What the agent sees and does


def block_means(picture: NDArray[Any]) -> NDArray[np.float64]:
    """[168, 252, C] as [C, 84, 84]: the mean of every 2x3 pixels."""
    return picture.reshape(84, 2, 84, 3, -1).mean(axis=(1, 3)).transpose(2, 0, 1)


@pytest.mark.parametrize("shape", third_party.SHAPES.values(), ids=third_party.SHAPES.keys())
@pytest.mark.parametrize("channels", ["as shown", "grey"])
def test_frames_are_the_pictures_scaled_by_area(shape: tuple[int, ...], channels: Any) -> None:
    gymnasium.register("Shaped-v0", third_party.Shows, kwargs={"shape": shape})
    try:
        environment = GymnasiumEnvironment("Shaped-v0", channels=channels, stack=2, action_repeat=3)
    finally:
        del gymnasium.registry["Shaped-v0"]
    seen = [environment.reset(seed=3)[0][-1]]
    twin: Any = third_party.Shows(shape=shape)
    raw = [twin.reset(seed=environment.state_dict()["simulator"]["seed"])[0]]
    over = False
    while not over:
        observation, reward, over, _, info = environment.step(2)
        assert np.array_equal(observation[0], seen[-1])
        seen.append(observation[-1])
        steps = [twin.step(1) for _ in range(min(3, twin.left))]
        raw.append(steps[-1][0])
        assert reward == 1.5 * len(steps)
    assert info["episode"] == {"return": 1.5 * 7, "length": 3}, "3, 3 and 1 steps; the wrapper's record is left out"
    assert set(environment.unwrapped._env.unwrapped.played) == {1}, "Discrete actions begin at -1"
    for frame, picture in zip(seen, raw, strict=True):
        colours = np.moveaxis(picture, 0, -1) if shape[0] == 3 else picture.reshape(168, 252, -1)
        if channels == "grey" and colours.shape[2] == 3:
            colours = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
        assert np.abs(frame - block_means(colours)).max() <= 0.51
        assert environment.frame_shape == frame.shape
    assert np.array_equal(environment.render()[..., -1], colours.reshape(168, 252, -1)[..., -1]) or channels == "grey"
    assert environment.render().shape == (168, 252, 3)


def test_actions_are_scaled_to_their_bounds_and_shape() -> None:
    environment = GymnasiumEnvironment("third_party:Box-v0")
    assert environment.action_space == gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    environment.reset(seed=0)
    for action in ([-1, -1], [1, 1], [0, 0.5]):
        environment.step(np.array(action, np.float32))
    played = np.array(environment._env.unwrapped.played)
    assert played.tolist() == [[[-3.0], [0.0]], [[5.0], [1.0]], [[1.0], [0.75]]]
    assert environment.translation.bounds() == {"low": played[0].tolist(), "high": played[1].tolist()}
    assert GymnasiumEnvironment("third_party:Shows-v0").translation.bounds() == {"first": -1}


def test_the_picture_among_other_observations_is_found_or_named() -> None:
    told = GymnasiumEnvironment("third_party:Camera-v0").account
    assert told.startswith(
        "Sees its observation 'front', 20x20, as 84x84 RGB, with 'speed' (2) beside the latents; acts"
    )
    environment = GymnasiumEnvironment("third_party:Cameras-v0", cameras=["right"], vectors=["none"])
    environment.reset(seed=0)
    assert np.array_equal(environment.render(), environment._pictures[0])
    assert (
        "Sees its observation 'right', 20x20, as 84x84 RGB; doesn't see 'left' (Box [20, 20, 3]), 'speed' (Box [2]); "
        in environment.account
    )
    assert "codes" in GymnasiumEnvironment(MINIGRID).account, "7x7 numbers of objects"


@pytest.mark.parametrize(("env_id", "options"), REAL)
def test_the_wrapper_passes_gymnasiums_own_check(env_id: str, options: dict[str, Any]) -> None:
    check_env(GymnasiumEnvironment(env_id, **options))


def test_mujoco_s_own_environments_are_drawn_without_a_screen() -> None:
    """In a process of its own, in which nothing has chosen a backend yet."""
    needs_drawing()
    program = (
        "import os, sys, types\n"
        "sys.modules['imageio'] = types.ModuleType('imageio')\n"  # which Gymnasium imports there, and videos alone need
        "from seer.envs.gymnasium import GymnasiumEnvironment\n"
        "environment = GymnasiumEnvironment('InvertedPendulum-v5', render_pixels=True)\n"
        "shown = environment.reset(seed=0)[0]\n"
        "print(os.environ['MUJOCO_GL'], environment.backend, shown.std() > 1)"
    )
    without = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY")}
    done = subprocess.run([sys.executable, "-c", program], env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"(egl|osmesa) Rendering with (EGL|OSMESA) on .* images/s True", done.stdout)


def test_real_pictures_come_through() -> None:
    environment = GymnasiumEnvironment(MINIGRID, render_pixels=True)
    observation, _ = environment.reset(seed=0)
    red, green, blue = observation[-1].astype(int)
    goal = (green - red > 150) & (green - blue > 150)
    assert goal[52:66, 52:66].all(), "the goal is the last square but one of 5x5"
    assert goal.sum() < 400


# Exact state


@pytest.mark.parametrize(("env_id", "options"), REAL)
def test_a_restored_episode_goes_on_bit_for_bit(env_id: str, options: dict[str, Any]) -> None:
    original = GymnasiumEnvironment(env_id, **options)
    original.reset(seed=8)
    play(original, seed=0, steps=60)
    restored = GymnasiumEnvironment(env_id, **options)
    restored.load_state_dict(through_json(original.state_dict()))
    assert not restored.is_lost
    original.action_space.seed(1)
    assert_same(play(original, seed=1, steps=150), play(restored, seed=1, steps=150))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as an error, SWIG's ends the process
def test_car_racing_goes_on_after_an_episode_and_a_half() -> None:
    """Box2D keeps a world over episodes; the restored one has a fresh world."""
    original = GymnasiumEnvironment("CarRacing-v3", image_size=42)
    original.reset(seed=1)
    original.step(np.zeros(3, np.float32))
    original.reset()
    play(original, seed=0, steps=40)
    restored = GymnasiumEnvironment("CarRacing-v3", image_size=42)
    restored.load_state_dict(through_json(original.state_dict()))
    assert not restored.is_lost
    assert_same(play(original, seed=1, steps=30), play(restored, seed=1, steps=30))


def test_an_environment_that_cant_be_brought_back_says_so() -> None:
    original, restored = (GymnasiumEnvironment("third_party:Unrepeatable-v0") for _ in range(2))
    original.reset(seed=8)
    last, *_ = original.step(0)
    restored.load_state_dict(through_json(original.state_dict()))
    assert restored.is_lost
    assert np.array_equal(restored.observe(), last), "what it showed last is needed to close the episode"
    with pytest.raises(gymnasium.error.ResetNeeded):
        restored.step(0)
    restored.reset()
    assert not restored.is_lost


def test_an_environment_that_fails_when_played_again_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    original, restored = (GymnasiumEnvironment("third_party:Shows-v0") for _ in range(2))
    original.reset(seed=8)
    original.step(0)

    def drifted(_action: Any) -> Any:
        raise KeyError("no such action here")

    monkeypatch.setattr(restored._env, "step", drifted)
    restored.load_state_dict(through_json(original.state_dict()))
    assert restored.is_lost


def test_the_state_of_other_settings_is_refused() -> None:
    state = GymnasiumEnvironment("third_party:Shows-v0").state_dict()
    with pytest.raises(SettingError, match=r"action repeat 1.*action repeat 2"):
        GymnasiumEnvironment("third_party:Shows-v0", action_repeat=2).load_state_dict(state)


def test_a_lost_episode_is_closed_in_the_replay() -> None:
    """What comes after a resume must not look like what came before it."""
    run = make_training(FreezeAt(None))
    run.return_support, support = (ReturnSupport(-1, 1, discount=1.0) for _ in range(2))
    for _ in range(3):
        collect(run)
    state = through_json(run.environment.state_dict())
    shown, size = run.environment.observe()[-1], run.replay.size
    resumed = make_training(FreezeAt(None))
    resumed.return_support = support

    def lose(_state: Any) -> None:
        resumed.environment.is_lost = True

    resumed.environment._load_simulator_state = lose  # type: ignore[method-assign]
    resumed.load_state_dict(run.state_dict() | {"environment": state})
    assert resumed.lost_episode
    assert not resumed.environment.is_lost, "a new episode is under way"
    assert [rewards.size for rewards in support.state_dict()["rewards"]] == [0], "whose returns are its own"
    ends = resumed.replay._ring.steps.end[: size + 1].tolist()
    assert ends == [End.GOING_ON, End.GOING_ON, End.TRUNCATED, End.CLOSING]
    assert np.array_equal(resumed.replay._ring.memory.rows(resumed.replay.row)[size].numpy(), shown)
    assert (resumed.replay.is_open, resumed.replay.num_sampleable) == (False, 3)


# Refusals


@pytest.mark.parametrize(
    ("env_id", "options", "said"),
    [
        ("CartPole-v1", {}, "shows no picture.*--render-pixels"),
        ("CartPole-v9", {}, "CartPole.*v1"),
        ("CartPol-v1", {}, "did you mean 'CartPole-v1'"),
        ("Alien", {}, "did you mean 'ALE/Alien-v5'"),
        ("SpaceInvadersNoFrameskip-v4", {}, "did you mean 'ALE/SpaceInvaders-v5'"),
        ("third_party:Camera-v9", {}, "did you mean 'third_party:Camera-v0'"),
        ("third_party:Xyzzy-v3", {}, "third_party registers no environment of that name"),
        ("Xyzzy-v3", {}, "isn't registered.*'package:Xyzzy-v3'"),
        ("Minigrid-Unheard-Of-v0", {}, "did you mean 'minigrid:Minigrid-Unheard-Of-v0', which imports minigrid"),
        ("no_such_module:Id-v0", {}, "No module named 'no_such_module'"),
        ("a:b:c", {}, "can't be made"),
        ("", {}, "can't be made"),
        ("third_party:Raises-v0", RENDERED, "RuntimeError: no licence found"),
        ("third_party:Float-v0", {}, "shows no picture.*float32.*--render-pixels"),
        ("third_party:Cameras-v0", {"cameras": ["speed"]}, "--cameras speed: .* named left, right"),
        ("third_party:Cameras-v0", {"cameras": ["left=0"]}, "--cameras left=0: frames have 1 to 1,024 pixels"),
        ("third_party:Cameras-v0", {"vectors": ["left"]}, r"--vectors left: .* named speed, and 'left' \(Box"),
        ("third_party:Shows-v0", {"cameras": ["left"]}, "--cameras left: .*no keys"),
        ("third_party:Shows-v0", {"vectors": ["all"]}, "--vectors all: .*no keys"),
        ("third_party:Unbounded-v0", {}, r"have no bounds.*SAC and CURL"),
        ("third_party:Huge-v0", {}, r"have no bounds"),
        ("third_party:Integers-v0", {}, r"neither Discrete nor"),
        ("third_party:Multi-v0", {}, r"MultiDiscrete.*neither Discrete nor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*latest versioned environment")
def test_what_cant_be_played_is_refused_in_one_line(env_id: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said) as refusal:
        GymnasiumEnvironment(env_id, **options)
    assert "\n" not in str(refusal.value)


def test_a_grey_environment_has_no_colours() -> None:
    gymnasium.register("Grey-v0", third_party.Shows, kwargs={"shape": (84, 84)})
    try:
        with pytest.raises(SettingError, match="--image-channels rgb: the pictures of Grey-v0 are grey"):
            GymnasiumEnvironment("Grey-v0", channels="rgb")
    finally:
        del gymnasium.registry["Grey-v0"]


def test_a_picture_that_isnt_one_stops_the_run() -> None:
    environment = GymnasiumEnvironment("third_party:Shows-v0")
    environment._env.observation_space.sample = lambda: None
    with pytest.raises(RunError, match="the environment failed in reset: its picture is NoneType, not uint8"):
        environment.reset()


@pytest.mark.parametrize("flag", [["--render-pixels"], ["--cameras", "x"], ["--image-channels", "rgb"]])
@pytest.mark.parametrize("env", ["ALE/Pong-v5", "dm_control/walker-walk-v0"])
def test_how_atari_and_dm_control_are_shown_is_fixed(env: str, flag: list[str]) -> None:
    with pytest.raises(SettingError, match=f"{' '.join(flag)}: how {env} is shown follows the paper"):
        config_of(["--env", env, *flag])


# Through the command line


def test_the_agent_follows_from_the_actions() -> None:
    discrete = config_of(["--env", MINIGRID, "--render-pixels"])
    assert (discrete.agent, discrete.image.action_repeat, discrete.image.stack) == ("rainbow", 1, 4)
    continuous = config_of(["--env", "Pendulum-v1", "--render-pixels"])
    assert (continuous.agent, continuous.image.action_repeat, continuous.view_size) == ("curl", 1, 84)
    assert config_of(["--env", "Pendulum-v1", "--agent", "sac"]).agent == "sac"


def test_an_agent_for_other_actions_is_refused(capsys: Capture) -> None:
    assert seer("train", "--env", "Pendulum-v1", "--render-pixels", "--agent", "dqn") == 2
    assert "--agent dqn needs discrete actions; for Pendulum-v1 use curl, sac or drqv2" in capsys.readouterr().err


SHORT = (
    *("--hidden-units", 16, "--batch-size", 8, "--log-every", 20, "--threads", 1, "--device", "cpu"),
    *("--replay-capacity", 70, "--eval-episodes", 1, "--checkpoint-every", 50, "--num-crops", 1),
)
DISCRETE = ("--env", MINIGRID, "--render-pixels", "--steps", 140, "--freeze-at", 95, "--eval-every", 140)
DISCRETE = (*DISCRETE, "--first-update", 60, "--n-step", 3, "--image-channels", "rgb", *SHORT)
CONTINUOUS = ("--env", "Pendulum-v1", "--render-pixels", "--steps", 100, "--freeze-at", 75, "--eval-every", 100)
CONTINUOUS = (*CONTINUOUS, "--first-update", 40, "--random-steps", 40, "--image-size", 50, "--crop-size", 42, *SHORT)
CONTINUOUS = (*CONTINUOUS, "--max-episode-steps", 50)  # of 200, which are slow to draw


# CURL's stops are test_control_run.py's, and how Pendulum is brought back is tested above.
@pytest.mark.parametrize(("flags", "stop"), [(DISCRETE, 115), pytest.param(CONTINUOUS, 60, marks=pytest.mark.slow)])
def test_training_from_end_to_end(flags: tuple[object, ...], stop: int, tmp_path: Path, capsys: Capture) -> None:
    """Through the freeze and an interruption, to the same figures as without it; then the agent plays."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert seer("train", *flags, "--out", whole) == 0
    said = capsys.readouterr().out
    assert "Sees its rendered picture" in said
    assert "encoder frozen" in said
    assert stop_in_step(stop, "train", *flags, "--out", stopped, signal=signal.SIGTERM) == 130
    assert seer("resume", stopped) == 0
    assert "did not go the same way" not in capsys.readouterr().out
    assert machine_free_records(stopped) == machine_free_records(whole)
    assert seer("eval", stopped, "--episodes", 1) == 0
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["replay"]["capacity_after"] > summary["replay"]["capacity_before"] == 70


def test_a_run_whose_environment_cant_be_brought_back_goes_on(tmp_path: Path, capsys: Capture) -> None:
    flags = ("--env", "third_party:Unrepeatable-v0", "--steps", 180, "--freeze-at", 110, "--eval-every", 180)
    flags = (*flags, "--first-update", 60, "--n-step", 3, *SHORT)
    assert stop_in_step(123, "train", *flags, "--out", tmp_path / "run", signal=signal.SIGTERM) == 130
    assert seer("resume", tmp_path / "run") == 0
    assert "did not go the same way again: its episode was cut" in " ".join(capsys.readouterr().out.split())
    records = read_metrics(tmp_path / "run")
    ends = [record["step"] for record in records if record["kind"] == "episode"]
    lengths = {later - earlier for earlier, later in pairwise(ends)}
    assert lengths == {7, 123 % 7 + 7}, "every episode has 7 steps; the one under way was cut"
