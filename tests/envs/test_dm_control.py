"""DeepMind Control: pictures and rewards against dm_control itself, episode ends, exact state, refusals."""

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest

from drawing import needs_drawing
from playing import assert_same, through_json
from seer.envs.dm_control import DMControlEnvironment, known_dm_control_tasks
from seer.envs.rendering import Renderer
from seer.errors import SettingError

CARTPOLE = "dm_control/cartpole-swingup-v0"
PAPER = ["cartpole-swingup", "finger-spin", "reacher-easy", "cheetah-run", "walker-walk", "walker-stand", "hopper-hop"]
# With these the paper's seven touch every kind of state: targets, gains, terrain, skins, task attributes, mocap.
OTHERS = ["finger-turn_easy", "point_mass-hard", "quadruped-escape", "swimmer-swimmer6", "dog-stand", "lqr-lqr_2_1"]


@pytest.fixture(scope="module", autouse=True)
def _backend() -> None:
    needs_drawing()


def named(task: str, *, quick: bool) -> Any:
    """A task to test, in make test or in make test-all alone."""
    return pytest.param(task, marks=() if quick else pytest.mark.slow)


def make(name: str = "cartpole-swingup", *, action_repeat: int = 50, **settings: Any) -> DMControlEnvironment:
    """A task without shadows, which draws quickly, and with episodes of 20 steps."""
    settings = {"shadows": False} | settings
    return DMControlEnvironment(f"dm_control/{name}-v0", action_repeat=action_repeat, **settings)


def play(environment: DMControlEnvironment, *, seed: int, steps: int) -> list[tuple[Any, ...]]:
    """`steps` random steps, with resets where they are due; each reset is recorded like a step."""
    rng = np.random.default_rng(seed)
    record: list[tuple[Any, ...]] = []
    for _ in range(steps):
        if environment._needs_reset:
            record.append(environment.reset())
        record.append(environment.step(rng.uniform(-1, 1, environment.action_space.shape).astype(np.float32)))
    return record


# The protocol


@pytest.mark.parametrize(
    "name", ["cartpole-swingup", "reacher-easy", "quadruped-escape", pytest.param("dog-run", marks=pytest.mark.slow)]
)
def test_pictures_and_rewards_are_those_of_dm_control(name: str) -> None:
    from dm_control import suite

    control = suite.load(*name.split("-"), task_kwargs={"random": 7})
    spec = control.action_spec()
    actions = np.random.default_rng(0).uniform(-1, 1, (2, *spec.shape)).astype(np.float32)
    control.reset()
    frames, rewards = [control.physics.render(100, 100, camera_id=0)], []
    for action in actions:
        scaled = spec.minimum + (action.astype(np.float64) + 1) / 2 * (spec.maximum - spec.minimum)
        rewards.append(sum(control.step(scaled).reward for _ in range(4)))
        frames.append(control.physics.render(100, 100, camera_id=0))
    control.physics.free()

    environment = make(name, action_repeat=4, shadows=True)
    observation, _ = environment.reset(seed=7)
    assert np.array_equal(observation, [frames[0].transpose(2, 0, 1)] * 3)
    for step, action in enumerate(actions):
        observation, reward, *_ = environment.step(action)
        assert reward == pytest.approx(rewards[step], rel=1e-9, abs=1e-12)
    assert np.array_equal(observation, [frame.transpose(2, 0, 1) for frame in frames])


def test_shapes_and_attributes() -> None:
    environment = DMControlEnvironment("dm_control/walker-walk-v0", action_repeat=2, stack=4, image_size=50)
    observation, _ = environment.reset(seed=0)
    assert observation.shape == (4, 3, 50, 50)
    assert environment.observation_space.contains(observation)
    assert (environment.frame_shape, environment.stack, environment.action_repeat) == ((3, 50, 50), 4, 2)
    assert environment.action_space == gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32)
    assert environment.metadata["render_fps"] == 20
    picture = environment.render()
    assert (picture.shape, picture.dtype) == ((256, 256, 3), np.uint8)
    assert picture.std() > 10


def test_actions_reach_the_bounds_of_each_actuator_and_pass_where_there_are_none() -> None:
    quadruped, lqr = make("quadruped-walk", action_repeat=1), make("lqr-lqr_2_1", action_repeat=1)
    spec = quadruped._control.action_spec()
    assert len(set(spec.maximum)) > 1
    for action, bound in ((-1, spec.minimum), (1, spec.maximum), (0, (spec.minimum + spec.maximum) / 2)):
        quadruped.reset(seed=0)
        quadruped.step(np.full(12, action, np.float32))
        assert np.allclose(quadruped._control.physics.control(), bound)
    lqr.reset(seed=0)
    lqr.step(np.array([0.5], np.float32))
    assert lqr._control.physics.control() == [0.5]


def test_own_actions_move_a_task_as_those_they_stand_for() -> None:
    usual, own = make("quadruped-walk", action_repeat=2), make("quadruped-walk", action_repeat=2)
    own.take_own_actions()
    spec = own._control.action_spec()
    assert own.action_space == gymnasium.spaces.Box(spec.minimum, spec.maximum, dtype=np.float64)
    action = np.random.default_rng(0).uniform(-1, 1, 12).astype(np.float32)
    for environment, given in ((usual, action), (own, usual.translation(action))):
        environment.restart(seed=1)
        environment.advance(given)
    states = [environment._control.physics.get_state() for environment in (usual, own)]
    assert np.array_equal(*states)


def test_the_time_limit_truncates_also_within_an_action_repeat() -> None:
    environment = make(action_repeat=300)
    environment.reset(seed=0)
    action = np.zeros(1, np.float32)
    rewards, ends = [], []
    for _ in range(4):
        _, reward, terminated, truncated, info = environment.step(action)
        rewards.append(reward)
        ends.append((terminated, truncated))
    assert ends == [(False, False)] * 3 + [(False, True)]
    assert info["episode"] == {"return": pytest.approx(sum(rewards)), "length": 4}
    assert environment.state_dict()["simulator"]["control_steps"] == 1000
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.step(action)


def test_an_end_of_the_task_itself_terminates_and_stops_the_action_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make("lqr-lqr_2_1", action_repeat=5)
    environment.reset(seed=0)
    task = environment._control.task
    monkeypatch.setattr(task, "get_termination", lambda physics: 0.0 if physics.time() > 0.2 else None)
    ends = [environment.step(np.zeros(1, np.float32))[2:4] for _ in range(2)]
    assert ends == [(False, False), (True, False)]
    assert environment.state_dict()["simulator"]["control_steps"] == 7


def test_tasks_without_a_time_limit_get_one_of_1000_control_steps() -> None:
    environment = make("lqr-lqr_6_2", action_repeat=400)
    environment.reset(seed=0)
    ends = [environment.step(np.ones(2, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_each_observation_is_drawn_once_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    environment, drawn = make(action_repeat=8), []
    draw = Renderer.draw
    monkeypatch.setattr(Renderer, "draw", lambda *args, **kwargs: drawn.append(1) or draw(*args, **kwargs))
    environment.reset(seed=0)
    for _ in range(3):
        environment.step(np.zeros(1, np.float32))
    environment.load_state_dict(environment.state_dict())
    assert len(drawn) == 4


def test_seeds_decide_an_episode_and_without_one_none_is_like_another() -> None:
    first, second = make("reacher-easy"), make("reacher-easy")
    assert not np.array_equal(first.reset()[0], second.reset()[0])
    observation, _ = first.reset(seed=3)
    assert np.array_equal(observation, second.reset(seed=3)[0])
    assert not np.array_equal(observation, first.reset()[0])


# Sharing a renderer


def test_environments_of_a_task_share_a_renderer_and_keep_their_own_terrain() -> None:
    left, right = make("quadruped-escape"), make("quadruped-escape")
    pictures: list[npt.NDArray[np.uint8]] = []
    for environment, seed in ((left, 0), (right, 1)):
        environment.reset(seed=seed)
        pictures.append(environment.render())
    assert left._renderer is right._renderer
    assert not np.array_equal(*pictures)
    assert np.array_equal(left.render(), pictures[0])


def test_any_thread_can_draw() -> None:
    environment = make()
    observation, _ = environment.reset(seed=0)
    with ThreadPoolExecutor() as threads:
        assert np.array_equal(threads.submit(lambda: environment.reset(seed=0)[0]).result(), observation)
    assert np.array_equal(environment.reset(seed=0)[0], observation)


def test_what_goes_wrong_in_the_drawing_thread_is_raised_by_draw() -> None:
    environment = make()
    environment.reset()
    with pytest.raises(ValueError, match="negative dimensions"):
        environment._draw(-1).result()
    environment.reset()


def test_a_renderer_goes_with_its_last_environment() -> None:
    environment = make("pendulum-swingup")
    environment.reset()
    renderer = weakref.ref(environment._renderer)
    del environment
    gc.collect()
    assert renderer() is None


# Exact state


def save_and_restore(original: DMControlEnvironment, restored: DMControlEnvironment) -> None:
    original.reset(seed=8)
    play(original, seed=0, steps=3)
    restored.load_state_dict(through_json(original.state_dict()))
    assert np.array_equal(original.render(), restored.render())


@pytest.mark.parametrize("name", [named(task, quick=task in ("cartpole-swingup", "reacher-easy")) for task in PAPER])
def test_a_restored_environment_goes_on_bit_for_bit_across_an_episode_end(name: str) -> None:
    original, restored = make(name, action_repeat=125), make(name, action_repeat=125)
    save_and_restore(original, restored)
    left, right = (play(environment, seed=1, steps=8) for environment in (original, restored))
    assert any("episode" in step[-1] for step in left)
    assert_same(left, right)


@pytest.mark.parametrize("name", [named(task, quick=task not in ("dog-stand", "quadruped-escape")) for task in OTHERS])
def test_other_tasks_with_states_of_their_own_go_on_bit_for_bit(name: str) -> None:
    original, restored = make(name, action_repeat=5), make(name, action_repeat=5)
    save_and_restore(original, restored)
    left, right = (play(environment, seed=1, steps=3) for environment in (original, restored))
    assert_same(left, right)
    assert np.array_equal(original.reset()[0], restored.reset()[0])


def test_a_used_environment_can_be_restored_too() -> None:
    original, restored = make("swimmer-swimmer6", action_repeat=5), make("swimmer-swimmer6", action_repeat=5)
    original.reset(seed=8)
    play(restored, seed=9, steps=3)
    restored.load_state_dict(through_json(original.state_dict()))
    assert_same(play(original, seed=1, steps=5), play(restored, seed=1, steps=5))


def test_a_state_saved_before_the_first_reset_or_after_an_end_keeps_the_random_numbers() -> None:
    original, restored = make("finger-turn_hard"), make("finger-turn_hard")
    for steps in (0, 20):
        play(original, seed=0, steps=steps)
        state = through_json(original.state_dict())
        assert state["needs_reset"]
        restored.load_state_dict(state)
        assert_same(play(original, seed=1, steps=2), play(restored, seed=1, steps=2))
        original.reset()


def test_the_state_of_another_task_is_refused() -> None:
    state = make("walker-walk").state_dict()
    with pytest.raises(SettingError, match=r"walker-walk-v0 on dm_control .*/walker-stand-v0"):
        make("walker-stand").load_state_dict(state)


# Refusals and silence


@pytest.mark.parametrize(
    ("env_id", "nearest"),
    [
        ("dm_control/cartpole-swing-v0", CARTPOLE),
        ("dm_control/cartpole-swingup-v1", CARTPOLE),
        ("dm_control/cartpole_swingup", CARTPOLE),
        ("Cheetah-Run", "dm_control/cheetah-run-v0"),
        ("dm_control/xyz", "ids look like"),
    ],
)
def test_an_unknown_task_is_refused_with_the_nearest_one(env_id: str, nearest: str) -> None:
    with pytest.raises(SettingError) as refusal:
        DMControlEnvironment(env_id, action_repeat=2)
    assert repr(env_id) in str(refusal.value)
    assert nearest in str(refusal.value)


def test_known_tasks() -> None:
    tasks = known_dm_control_tasks()
    assert {f"dm_control/{name}-v0" for name in PAPER + OTHERS} <= set(tasks)
    assert tasks == sorted(tasks)


def test_nothing_is_printed() -> None:
    script = """
from seer.envs.dm_control import DMControlEnvironment
environment = DMControlEnvironment("dm_control/cheetah-run-v0", action_repeat=4)
environment.reset(seed=1)
environment.step(environment.action_space.sample())
environment.load_state_dict(environment.state_dict())
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
