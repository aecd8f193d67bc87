"""Registries: names, what they stand for, and what other packages add without a change to seer."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from own_package import SUITE, SteadySettings
from seer.agents.registry import AGENTS, agent_label
from seer.config import Config, config_from_json, config_to_json
from seer.envs.registry import ENVIRONMENTS, normalized, suite_of
from seer.errors import SettingError
from seer.presets import preset
from seer.registry import Registry, _announced, resolve
from seer.settings import flags_of
from seer.trainer import _new_folder
from seer.validation import validate
from tiny_run import config_of, seer

TESTS = Path(__file__).parent
ENTRY_POINTS = """
[seer.agents]
steady = own_package:AGENT
broken = a_package_that_is_gone:AGENT

[seer.environments]
painted/ = own_package:SUITE
"""


@dataclass(frozen=True)
class Named:
    name: str


def announce(folder: Path) -> Path:
    """Lay down what pip lays down of a package that announces an agent and a suite."""
    info = folder / "own_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(announce(tmp_path))
    monkeypatch.setattr("seer.registry._announced", _announced.__wrapped__)
    for registry in (AGENTS, ENVIRONMENTS):
        monkeypatch.setattr(registry, "_specs", dict(registry._specs))


def test_a_name_is_taken_once_and_an_unknown_one_is_told_what_there_is() -> None:
    registry = Registry("--fruit", "seer.fruits", [Named("apple"), Named("pear")])
    registry.register(Named("plum"))
    assert registry["plum"] == Named("plum")
    assert registry.names() == ["apple", "pear", "plum"]
    with pytest.raises(ValueError, match=r"'pear' is registered already"):
        registry.register(Named("pear"))
    with pytest.raises(SettingError, match=r"^--fruit 'aple' is unknown; did you mean apple\? use one of apple, pear,"):
        registry["aple"]
    with pytest.raises(SettingError, match=r"^--fruit 'x' is unknown; use one of apple, pear, plum$"):
        registry["x"]


@pytest.mark.usefixtures("own_package")
def test_an_installed_package_is_imported_when_its_entry_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AGENTS.names()[-2:] == ["broken", "steady"]
    monkeypatch.delitem(sys.modules, "own_package")
    assert AGENTS["rainbow"].label == "Rainbow"
    assert "own_package" not in sys.modules
    assert agent_label("steady") == "Steady DQN"
    assert "own_package" in sys.modules
    with pytest.raises(ValueError, match=r"'steady' is registered already"):
        AGENTS.register(AGENTS["steady"])
    with pytest.raises(
        SettingError, match=r"^--agent broken: its package can't be loaded \(ModuleNotFoundError"
    ) as error:
        AGENTS["broken"]
    assert "\n" not in str(error.value)
    assert agent_label("unheard-of") == "unheard-of"  # a run of a package that isn't installed here


@pytest.mark.usefixtures("own_package")
def test_an_agents_settings_come_over_its_environments_and_survive_the_file() -> None:
    config = preset("painted/5", "steady")
    assert (config.steps, config.replay.n_step, config.threads) == (60, 1, 1)  # the suite's, DQN's over it, DQN's
    assert config_to_json(config)["own"] == {"exploration": 0.4}
    assert config_to_json(preset("ALE/Pong-v5", "steady"))["own"] == {"exploration": 0.3}
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config
    assert flags_of(config) == ["--env", "painted/5", "--agent", "steady", "--seed", "0"]
    assert preset("painted/5").agent == "rainbow"
    assert normalized("painted/5", 10.0) == 2.0
    with pytest.raises(SettingError, match=r"^--agent steady needs discrete actions; for dm_control/x-y-v0 use curl"):
        preset("dm_control/x-y-v0", "steady")


def test_an_agent_of_any_module_is_found_again_by_its_place() -> None:
    place = "own_package:AGENT"
    config = preset("ALE/Pong-v5", place)
    assert (config.agent, config.own, AGENTS[place].name) == (place, SteadySettings(), place)
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config
    assert flags_of(config) == ["--env", "ALE/Pong-v5", "--agent", place, "--seed", "0"]
    assert config_of(["--env", "ALE/Pong-v5", "--agent", place, "--exploration", "0.5"]).own == SteadySettings(0.5)
    assert agent_label(place) == "Steady DQN"
    assert agent_label("gone:AGENT") == "gone:AGENT"
    assert place not in AGENTS.names()
    assert _new_folder(config).name.startswith("ALE-Pong-v5-own_package-AGENT-0-")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no_such_module:AGENT", "can't be imported .*no_such_module"),
        ("own_package:MISSING", "can't be imported .*MISSING"),
        ("own_package:SUITE", "is of class EnvSpec"),
    ],
)
def test_a_place_without_an_agent_is_one_line(place: str, said: str) -> None:
    with pytest.raises(SettingError, match=rf"^--agent {place} {said}.*; name an AgentSpec as MODULE:NAME$"):
        config_of(["--env", "ALE/Pong-v5", "--agent", place])
    with pytest.raises(SettingError, match=r"^'no_such_module:make' can't be imported \(ModuleNotFoundError"):
        resolve("no_such_module:make")


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"explorations": 0.1}, "explorations"),
        ([1], "fit this version"),
        ({"exploration": "much"}, "exploration 'much'"),
    ],
)
def test_a_file_with_wrong_settings_of_an_agents_own_is_refused(own: object, said: str) -> None:
    record = config_to_json(preset("painted/5", "steady"))
    with pytest.raises(SettingError, match=said):
        config_from_json(record | {"own": own})


def test_a_file_of_an_agent_that_is_not_installed_names_those_that_are() -> None:
    record = config_to_json(Config(env="ALE/Pong-v5"))
    assert "own" not in record
    with pytest.raises(
        SettingError, match=r"--agent 'steady' is unknown; use one of rainbow, dqn, sac, curl, drqv2, or MODULE:NAME$"
    ):
        config_from_json(record | {"agent": "steady"})
    with pytest.raises(SettingError, match="agent 3, which is of the wrong type"):
        config_from_json(record | {"agent": 3})


def test_the_longest_beginning_that_fits_says_whose_an_id_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENVIRONMENTS, "_specs", dict(ENVIRONMENTS._specs))

    ENVIRONMENTS.register(replace(SUITE, name="ALE/Own", label="own games"))
    ids = {
        "ALE/OwnPong": "own games",
        "ALE/Pong-v5": "Atari",
        "dm_control/a-b-v0": "dm_control",
        "ale/Pong": "Gymnasium",
    }
    assert {env: suite_of(env).label for env in ids} == ids


@pytest.mark.usefixtures("own_package")
def test_an_agent_that_shifts_its_pictures_may_store_several_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    config = preset("painted/5", "steady")
    several = replace(config, freeze=replace(config.freeze, num_crops=2))
    with pytest.raises(SettingError, match=r"--num-crops 2"):
        validate(several)
    monkeypatch.setitem(AGENTS._specs, "steady", replace(AGENTS["steady"], views="shifts"))
    validate(several)
    with pytest.raises(SettingError, match=r"--crop-size 80: --agent steady crops nothing"):
        validate(replace(several, image=replace(config.image, crop_size=80)))


def run_seer(environ: dict[str, str], *arguments: str) -> str:
    """Run a command of seer, and return what it prints."""
    command = [sys.executable, "-m", "seer", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("own_package")
def test_another_package_brings_an_agent_and_environments_to_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained past its freeze, played, and told in the help, without an import of seer's saying so."""
    path = os.pathsep.join([str(tmp_path), str(TESTS), os.environ.get("PYTHONPATH", "")])
    in_a_process = partial(run_seer, os.environ | {"PYTHONPATH": path, "COLUMNS": "250"})
    run = tmp_path / "run"
    flags = ("--env", "painted/5", "--agent", "steady")
    in_a_process("train", *flags, "--exploration", "0.5", "--num-envs", "2", "--out", str(run), "--device", "cpu")
    record = json.loads((run / "config.json").read_text())
    assert (record["agent"], record["own"], record["learning"]["batch_size"]) == ("steady", {"exploration": 0.5}, 8)
    assert json.loads((run / "summary.json").read_text())["freeze"]["step"] == 40
    assert seer("eval", run, "--episodes", 1) == 0
    assert "painted/5, steady" in capsys.readouterr().out
    told = in_a_process("train", *flags, "--help")
    assert "{rainbow,dqn,sac,curl,drqv2,broken,steady}|MODULE:NAME" in told
    assert "--exploration FLOAT" in told
    assert "Share of random actions" in told


@pytest.mark.slow
@pytest.mark.usefixtures("own_package")
def test_an_agent_of_a_file_in_this_folder_trains_in_a_sweep_and_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is installed: the file alone names a new agent, and config.json says where it is."""
    (tmp_path / "steady.py").write_text("from own_package import AGENT\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    sweep = ("sweep", "--envs", "painted/5", "--freeze-at", "40", "--seeds", "1", "--out", "sweep")
    assert seer(*sweep, "--", "--agent", "steady:AGENT", "--exploration", "0.5", "--device", "cpu") == 0
    swept = tmp_path / "sweep/runs/5-freeze-40-0"
    record = json.loads((swept / "config.json").read_text())
    assert (record["agent"], record["own"]) == ("steady:AGENT", {"exploration": 0.5})

    begun = tmp_path / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "config.json").write_text(json.dumps(record))
    assert seer("resume", begun) == 0
    costs = {json.loads((folder / "summary.json").read_text())["flops"]["total"] for folder in (swept, begun)}
    assert len(costs) == 1
