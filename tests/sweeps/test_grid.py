"""Grids: environments x variants x seeds of a file and of the command line."""

import re
from pathlib import Path

import pytest

from seer.errors import SettingError
from seer.flags import read_settings
from seer.presets import change
from seer.settings import flags_of
from seer.sweeps.grid import make_grid, read_grid, short_name, table_to_flags
from tiny_run import config_of
from tiny_sweep import write_grid

ALIEN = "ALE/Alien-v5"


def test_a_variant_overrides_its_environment_and_that_the_common_settings(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(
        'envs = ["ALE/Alien-v5", "dm_control/cartpole-swingup-v0"]\nseeds = [3, 5]\n'
        "[settings]\nsteps = 9000\nfreeze-at = 2000\nnum-crops = 1\nfirst_update = 1500\nlearning-rate = '3e-4'\n"
        '[per-env."ALE/Alien-v5"]\nfreeze-at = 4000\nprioritized = false\n'
        '[arms.plain]\n[arms.never]\nfreeze_at = "never"\n'
    )
    trials = {trial.name: trial for trial in read_grid(file).trials()}
    assert list(trials) == [
        *("Alien-plain-3", "Alien-never-3", "cartpole-swingup-plain-3", "cartpole-swingup-never-3"),
        *("Alien-plain-5", "Alien-never-5", "cartpole-swingup-plain-5", "cartpole-swingup-never-5"),
    ]
    plain = trials["Alien-plain-3"].config
    assert (plain.env, plain.seed, plain.steps, plain.freeze.at) == (ALIEN, 3, 9000, "4000")
    assert (plain.replay.prioritized, plain.learning.learning_rate, plain.learning.first_update) == (False, 3e-4, 1500)
    assert trials["cartpole-swingup-plain-5"].config.freeze.at == "2000"
    assert trials["Alien-never-5"].config.freeze.at == "never"
    assert trials["Alien-never-5"].config.threads == 1
    later = read_grid(file).trials(read_settings(["--steps=8000", "--no-double", "--threads", "2"]), threads=3)
    assert {(each.config.steps, each.config.value.double, each.config.threads) for each in later} == {(8000, False, 2)}


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    grid = make_grid(write_grid(tmp_path, seeds=2), envs=("ALE/Pong-v5",), seeds=(4,), freeze_at=("70", "never"))
    assert {trial.name for trial in grid.trials()} == {
        f"Pong-{group}-{seed}" for group in ("freeze-70", "never") for seed in range(4)
    }
    assert make_grid(None, envs=("A",), seeds=(4, 6), freeze_at=()).seeds == [4, 6]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("envs = [", "no TOML"),
        ("env = ['x']", "unknown env"),
        ("envs = 'ALE/Alien-v5'", "envs has to be a list"),
        ("envs = ['a']\nseeds = 0", "seeds 0"),
        ("envs = ['a']\nseeds = ['x']", "seeds"),
        ("envs = ['a']\nsettings = 3", "tables of flags"),
        ("envs = ['a']\narms = ['seer', 'never']", "tables of flags"),
        ("envs = ['a']\nper-env = 3", "tables of flags"),
        ("envs = ['a']\n[arms]\nseer = 3", "tables of flags"),
        ("envs = ['a']\n[per-env.b]\nsteps = 1", "[per-env] speaks of b"),
        ("envs = ['a']\n[settings]\nseed = 1", "use seeds"),
        ("envs = ['a']\n[settings]\nsteps = [1]", "steps = [1]"),
        ("envs = ['a/x', 'b/x']", "x-default-0 twice"),
        ("envs = []", "empty"),
        ("envs = ['a']\n[arms.'a/b']\nsteps = 1", "variant 'a/b'"),
        ("envs = ['a']\n[arms.a]\n[variants.b]", "unknown arms; use envs, seeds, settings, per-env, variants"),
    ],
)
def test_a_bad_grid_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(text)
    with pytest.raises(SettingError, match=re.escape(said)) as error:
        read_grid(file).trials()
    assert "\n" not in str(error.value)
    with pytest.raises(SettingError, match="can't be read"):
        read_grid(tmp_path / "missing.toml")


def test_flags() -> None:
    assert table_to_flags({"freeze_at": "never", "double": True, "prioritized": False, "steps": 3}) == [
        *("--freeze-at", "never", "--double", "--no-prioritized", "--steps", "3")
    ]
    assert [short_name(env) for env in (ALIEN, "dm_control/walker-walk-v0", "a b")] == ["Alien", "walker-walk", "a-b"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--env", ALIEN, "--seed", "3"],
        ["--env", ALIEN, "--agent", "dqn", "--seed", "3", "--no-double", "--freeze-at", "never", "--steps", "70000"],
        ["--env", "dm_control/walker-walk-v0", "--seed", "0", "--encoder-from", "a/b", "--freeze-layers", "2"],
        ["--env", ALIEN, "--seed", "1", "--replay-memory", "70MB", "--image-size", "42", "--learning-rate", "0.0003"],
    ],
)
def test_settings_come_back_as_the_flags_that_change_the_preset(flags: list[str]) -> None:
    config = config_of(flags)
    assert config_of(flags_of(config)) == config
    assert set(flags_of(config)) == set(flags) - {"--no-double"}  # of DQN's own preset
    assert change(config, {"steps": 9, "freeze.at": "5"}).freeze.at == "5"
