"""Dict observations: which cameras and vectors are seen, as which numbers; what isn't, and what is refused."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import third_party
from drawing import needs_drawing
from seer.config import config_from_json, config_to_json
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.envs.pictures import scaled
from seer.envs.vector import EnvironmentProcess
from seer.errors import RunError, SettingError
from seer.training.build_environment import environment_maker
from tiny_run import config_of

ROBOT = spaces.Dict(
    {
        "pixels": spaces.Dict(
            {
                "front": spaces.Box(0, 255, (33, 47, 3), np.uint8),
                "wrist": spaces.Box(0, 1, (20, 21), np.uint8),
            }
        ),
        "joints": spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
        "steps": spaces.Box(-5, 5, (), np.int64),
        "mode": spaces.Discrete(3, start=4),
        "touches": spaces.MultiBinary(2),
        "task": spaces.Text(5),
        "depth": spaces.Box(0, 1, (64, 64), np.float32),
    }
)


@pytest.fixture(autouse=True)
def _robot() -> Iterator[None]:
    gymnasium.register("Robot-v0", third_party.Shows, kwargs={"observations": ROBOT})
    yield
    del gymnasium.registry["Robot-v0"]


def make(**options: Any) -> GymnasiumEnvironment:
    return GymnasiumEnvironment("Robot-v0", image_size=30, stack=2, **options)


def test_all_pictures_and_vectors_are_seen_and_the_start_says_what_isn_t() -> None:
    environment = make()
    assert environment.packing is not None
    assert environment.packing.cameras == {"pixels/front": (3, 30, 30), "pixels/wrist": (1, 30, 30)}
    assert environment.packing.vectors == {"joints": 6, "mode": 3, "steps": 1, "touches": 2}
    assert environment.introduction() == [
        "Sees its observation 'pixels/front', 47x33, as 30x30 RGB and its observation 'pixels/wrist', 21x20, as 30x30 "
        "grey, with 'joints' (6), 'mode' (3), 'steps' (1), 'touches' (2) beside the latents; doesn't see "
        "'depth' (Box [64, 64]), 'task' (Text); acts in Discrete(3, start=-1); its pixels of 0 to 1 are shown from "
        "black to white"
    ]


def test_a_frame_holds_what_the_environment_showed() -> None:
    environment, twin = make(cameras=["pixels/wrist=17", "pixels/front"]), third_party.Shows(observations=ROBOT)
    observation, _ = environment.reset(seed=3)
    raw, _ = twin.reset(seed=environment.state_dict()["simulator"]["seed"])
    for _ in range(3):
        mode = [float(raw["mode"] == 4 + place) for place in range(3)]
        numbers = [*raw["joints"].ravel(), *mode, raw["steps"], *raw["touches"]]
        wrist = scaled((255 * raw["pixels"]["wrist"])[..., None], (1, 17, 17))
        front = scaled(raw["pixels"]["front"], (3, 30, 30))
        wanted = wrist.tobytes() + front.tobytes() + np.array(numbers, np.float32).tobytes()
        assert observation[-1].tobytes() == wanted
        shown = environment.render()
        assert shown.shape == (33, 21 + 47, 3)
        assert np.array_equal(shown[:, 21:], raw["pixels"]["front"])
        before = observation
        observation, *_ = environment.step(2)
        assert np.array_equal(observation[0], before[1])
        raw, *_ = twin.step(1)


def test_what_is_named_is_seen_alone_and_one_picture_is_a_plain_frame() -> None:
    environment = make(cameras=["pixels/front"], vectors=["mode", "joints"])
    assert environment.packing is not None
    assert list(environment.packing.cameras) == ["pixels/front"]
    assert environment.packing.vectors == {"mode": 3, "joints": 6}
    assert "doesn't see 'depth' (Box [64, 64]), 'pixels/wrist' (Box [20, 21])" in environment.account
    alone = make(cameras=["pixels/front"], vectors=["none"])
    assert (alone.packing, alone.frame_shape) == (None, (3, 30, 30))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vectors": ["task"]}, r"--vectors task: the vectors of Robot-v0 are named .*, and 'task' \(Text\) is none"),
        ({"vectors": ["depth"]}, r"--vectors depth: .*'depth' \(Box \[64, 64\]\) is none"),
        ({"vectors": ["joints", "all"]}, "--vectors all: .*all and none go alone"),
        ({"cameras": ["front"]}, "--cameras front: the pictures of Robot-v0 are named pixels/front, pixels/wrist"),
        ({"cameras": ["pixels/front=20", "pixels/front"]}, "--cameras pixels/front=20 pixels/front names .* twice"),
        ({"cameras": ["pixels/front=2000"]}, "frames have 1 to 1,024 pixels a side"),
        ({"channels": "rgb"}, "--image-channels rgb: the pictures of Robot-v0 are grey"),
    ],
)
def test_what_isn_t_there_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        make(**options)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("joints", np.full((2, 3), np.nan), "the vector 'joints' has nan: its numbers must be finite in float32"),
        ("joints", np.full((2, 3), 1e300), r"the vector 'joints' has 1e\+300"),
        ("joints", np.zeros(5), "the vector 'joints' has 5 numbers, not 6"),
        ("mode", 3, "its observation 'mode' is 3, but its space says 4 to 6"),
    ],
)
def test_a_wrong_number_stops_the_run_at_its_step(name: str, value: Any, said: str) -> None:
    environment = make()
    environment.reset(seed=0)
    environment.step(0)
    sample = environment._env.observation_space.sample
    environment._env.observation_space.sample = lambda: {**sample(), name: value}
    with pytest.raises(RunError, match=f"the environment failed in step: {said}"):
        environment.step(0)


def test_rendered_pixels_go_with_vectors_that_are_named() -> None:
    pendulum = GymnasiumEnvironment("Pendulum-v1", render_pixels=True, vectors=["all"], image_size=30)
    assert pendulum.packing is not None
    assert pendulum.packing.vectors == {"observation": 3}
    assert "rendered picture, 500x500, as 30x30 RGB, with 'observation' (3) beside" in pendulum.account
    observation, _ = pendulum.reset(seed=0)
    numbers = observation[-1, 0, 0, -12:].copy().view(np.float32)
    assert np.hypot(numbers[0], numbers[1]) == pytest.approx(1)
    assert GymnasiumEnvironment("Pendulum-v1", render_pixels=True).packing is None


def test_a_saved_state_goes_on_with_the_same_vectors() -> None:
    environment, other = make(), make()
    environment.reset(seed=5)
    environment.step(1)
    other.load_state_dict(environment.state_dict())
    assert not other.is_lost
    for _ in range(3):
        assert np.array_equal(environment.step(0)[0], other.step(0)[0])


def test_another_process_shows_the_same(tmp_path: Any) -> None:
    config = config_of(["--env", "reaching:ReachingTwoCamerasDiscrete-v0", "--image-size", "30", "--agent", "dqn"])
    make_it = environment_maker(config, training=True)
    process, here = EnvironmentProcess(make_it, time_limit=60, seed=4), make_it()
    process.wait()
    here.reset(seed=4)
    assert np.array_equal(process.observe(), here.observe())
    process.close()


def test_dm_control_shows_the_task_s_own_observations_beside_its_pixels() -> None:
    needs_drawing()
    from seer.envs.dm_control import DMControlEnvironment

    make_it: Any = lambda **options: DMControlEnvironment(  # noqa: E731
        "dm_control/walker-walk-v0", action_repeat=2, image_size=20, stack=2, **options
    )
    plain, with_vectors = make_it(), make_it(vectors=["all"])
    assert with_vectors.packing.vectors == {"orientations": 14, "height": 1, "velocity": 9}
    assert make_it(vectors=["velocity"]).packing.vectors == {"velocity": 9}
    assert make_it(vectors=["none"]).packing is None
    plain.reset(seed=1)
    with_vectors.reset(seed=1)
    for action in (np.ones(6), -np.ones(6), np.zeros(6)):
        seen, packed = plain.step(action)[0], with_vectors.step(action)[0]
        assert packed[-1].tobytes()[: 3 * 400] == seen[-1].tobytes()
        observed = with_vectors._control.task.get_observation(with_vectors._control.physics)
        wanted = np.concatenate([np.ravel(observed[name]) for name in with_vectors.packing.vectors])
        assert packed[-1].tobytes()[3 * 400 :] == wanted.astype(np.float32).tobytes()
    with pytest.raises(
        SettingError, match=r"--vectors joints: .* of dm_control/walker-walk-v0 are named orientations, he"
    ):
        make_it(vectors=["joints"])


# Settings


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--env", "ALE/Pong-v5", "--vectors", "all"], "--vectors all: ALE/Pong-v5 shows pictures alone"),
        (["--env", "dm_control/walker-walk-v0", "--cameras", "x"], "--cameras x: how .* follows the paper"),
        (["--env", "Robot-v0", "--cameras", "a", "a"], "--cameras a a names one twice"),
        (["--env", "Pendulum-v1", "--render-pixels", "--cameras", "a"], "--cameras a are parts of observations"),
    ],
)
def test_settings_that_can_t_be_are_refused(flags: list[str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        config_of(flags)


def test_a_new_run_s_settings_come_back_from_its_config_json() -> None:
    flags = ["--env", "Robot-v0", "--image-key", "pixels/front=40", "pixels/wrist", "--vectors", "joints"]
    config = config_of(flags)
    assert config.image.cameras == ("pixels/front=40", "pixels/wrist"), "--image-key is an older name of --cameras"
    assert config_from_json(config_to_json(config)) == config
    plain = config_of(["--env", "Robot-v0"])
    assert not {"key", "cameras", "vectors"} & config_to_json(plain)["image"].keys(), "as seers of before read it"
    assert config_from_json(config_to_json(plain)) == plain


@pytest.mark.parametrize(
    ("env", "key", "cameras", "vectors"),
    [
        ("Robot-v0", "pixels/front", ("pixels/front",), ("none",)),
        ("Robot-v0", None, (), ("none",)),
        ("ALE/Pong-v5", None, (), ()),
    ],
)
def test_an_older_run_saw_one_picture_and_still_does(env: str, key: Any, cameras: Any, vectors: Any) -> None:
    config = config_of(["--env", env])
    record = config_to_json(config)
    record["image"]["key"] = key
    old = config_from_json(record)
    assert (old.image.cameras, old.image.vectors) == (cameras, vectors)
    if cameras:
        assert environment_maker(old, training=True)().packing is None


def test_numbers_beside_a_rendered_picture_are_seen_or_said() -> None:
    options: dict[str, Any] = {"image_size": 30, "stack": 2, "render_pixels": True}
    alone, both = (GymnasiumEnvironment("CartPole-v1", vectors=vectors, **options) for vectors in ((), ("all",)))
    assert "its rendered picture, 600x400, as 30x30 RGB; doesn't see 'observation' (Box [4]);" in alone.account
    assert "with 'observation' (4) beside the latents; acts" in both.account
