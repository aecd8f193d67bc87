"""Keyword arguments of environments: how they are written, what they lead to, what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from refusing import Capture, refused
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.envs.kwargs import in_one_form, parse_kwargs
from seer.errors import SettingError
from seer.settings import flags_of
from seer.sweeps.grid import read_grid
from seer.training.build_environment import build_environment
from tiny_run import config_of, seer

LAKE = ("--env", "FrozenLake-v1", "--render-pixels", "--image-size", "32")


@pytest.mark.parametrize(
    ("words", "kwargs"),
    [
        ((), {}),
        (("continuous=false",), {"continuous": False}),
        (("continuous=False", "b=None", "c=True"), {"continuous": False, "b": None, "c": True}),
        (("map_name=8x8", "gravity=-9.5", "size=3"), {"map_name": "8x8", "gravity": -9.5, "size": 3}),
        (('version="1"', "desc=[[1,2],[3,4]]", "text=a=b"), {"version": "1", "desc": [[1, 2], [3, 4]], "text": "a=b"}),
        (('{"continuous": false, "n": 2}', "m=1"), {"continuous": False, "n": 2, "m": 1}),
        (("text=", "other=NaN"), {"text": "", "other": "NaN"}),
        (("a=1e999", "b=1e9"), {"a": "1e999", "b": 1e9}),  # no number that JSON can write
    ],
)
def test_arguments_are_json_or_texts(words: tuple[str, ...], kwargs: dict[str, object]) -> None:
    assert parse_kwargs(words) == kwargs
    form = in_one_form(words)
    assert parse_kwargs(form) == kwargs
    assert in_one_form(form) == form == in_one_form(reversed(words))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("continuous",), "'continuous' has no value; write KEY=VALUE"),
        (("{broken",), "is no JSON object"),
        (('{"a": NaN}',), "NaN is no JSON"),
        (('{"a": -1e999}',), "-1e999 is no JSON"),
        (("a=1", '{"a": 2}'), "gives a twice"),
        (("two words=1",), "'two words' is no argument"),
        (("=1",), "'' is no argument"),
        (("render_mode=human",), "--render-pixels is there for it"),
        (("max_episode_steps=9",), "--max-episode-steps is there for it"),
        (("disable_env_checker=true",), "is no argument of an environment"),
    ],
)
def test_what_is_no_argument_is_refused(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(SettingError, match="--env-kwargs") as caught:
        parse_kwargs(words)
    assert complaint in str(caught.value)


def test_actions_and_so_the_agent_follow_from_them() -> None:
    pytest.importorskip("Box2D")
    assert config_of(["--env", "CarRacing-v3"]).agent == "curl"
    config = config_of(["--env", "CarRacing-v3", "--env-kwargs", "continuous=False"])
    assert (config.agent, config.env_kwargs) == ("rainbow", ("continuous=false",))
    assert config_of(flags_of(config)) == config


def test_they_reach_every_environment_of_a_run(tmp_path: Path, capsys: Capture) -> None:
    run, kwargs = tmp_path / "run", ("--env-kwargs", "map_name=8x8", "is_slippery=false")
    flags = (*LAKE, *kwargs, "--steps", 60, "--freeze-at", 50, "--first-update", 40, "--batch-size", 4)
    sizes = ("--hidden-units", 16, "--n-step", 3, "--eval-every", 60, "--eval-episodes", 1, "--max-episode-steps", 20)
    assert seer("train", *flags, *sizes, "--out", run) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["env_kwargs"] == ["is_slippery=false", 'map_name="8x8"']
    capsys.readouterr()
    assert seer("eval", run, "--episodes", 1) == 0
    given = config_of([*LAKE, *kwargs])
    for training in (True, False):
        environment = build_environment(given, training=training)
        assert isinstance(environment, GymnasiumEnvironment)
        assert environment._env.observation_space.n == 64  # type: ignore[attr-defined]
    other = shutil.copytree(run, tmp_path / "other")
    (other / "config.json").write_text(json.dumps(config | {"env_kwargs": []}))
    assert seer("eval", other, "--episodes", 1) == 2
    assert "other settings (env_kwargs" in capsys.readouterr().err


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((*LAKE, "--env-kwargs", "colour=red"), ["--env-kwargs colour=", "'colour'", "FrozenLake-v1"]),
        ((*LAKE, "--env-kwargs", "colour"), ["--env-kwargs 'colour'", "KEY=VALUE"]),
        (("--env", "ALE/Pong-v5", "--env-kwargs", "mode=1"), ["--env-kwargs mode=1", "ALE/Pong-v5", "leave it out"]),
        ((*LAKE, "--sticky-actions", "0.25"), ["--sticky-actions 0.25 is for Atari games", "leave it out"]),
        ((*LAKE, "--full-action-space"), ["--full-action-space is for Atari games", "leave it out"]),
        (("--env", "ALE/Pong-v5", "--sticky-actions", "2"), ["--sticky-actions 2.0 must lie between 0 and 1"]),
    ],
)
def test_flags_that_an_environment_does_not_have_are_refused(
    flags: tuple[str, ...], named: list[str], capsys: Capture
) -> None:
    line = refused(capsys, "train", *flags)
    assert all(part in line for part in named), line


def test_a_grid_has_them_as_texts_or_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text("""
envs = ["FrozenLake-v1"]
[settings]
render-pixels = true
env-kwargs = ["map_name=8x8", "is_slippery=false"]
[variants.slippery]
env-kwargs = {map_name = "4x4", is_slippery = true}
[variants.dry]
""")
    slippery, dry = (trial.config.env_kwargs for trial in read_grid(file).trials())
    assert slippery == ("is_slippery=true", 'map_name="4x4"')
    assert dry == ("is_slippery=false", 'map_name="8x8"')
