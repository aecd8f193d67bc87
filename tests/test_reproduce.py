"""The paper's exhibits: complete, planned at every scale, and (slow: pytest -m slow) each run to its report once."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from seer.agents.agent import Agent
from seer.build import build_agent, build_environment, build_schedule
from seer.cli import parse_config
from seer.config import Config, config_from_json
from seer.experiments.paper import EXHIBITS
from seer.experiments.tables import run_flops
from seer.phase import Phase
from seer.studies.plan import _kind_of_speed
from seer.studies.reproduce import Scale
from tiny_run import seer

Capture = pytest.CaptureFixture[str]
ATARI_100K = Path(__file__).parents[1] / "results" / "atari-100k"
FIGURES = [f"fig{number}" for number in range(2, 14)]


def test_every_exhibit_is_there() -> None:
    assert list(EXHIBITS) == ["fig2", "fig3", "table1", *FIGURES[2:]]
    for name, exhibit in EXHIBITS.items():
        assert exhibit.name == name
        assert exhibit.axes
        assert exhibit.only(exhibit.small.envs).envs
        assert exhibit.seeds == (3 if name in ("fig6", "fig7") else 5)


def test_runs_of_one_name_are_one_run_in_all_exhibits() -> None:
    """Exhibits of one scale share a folder, so a name may mean one thing only."""
    flags: dict[str, tuple[str, ...]] = {}
    for exhibit in EXHIBITS.values():
        for trial in exhibit.trials(seeds=2, root=Path("r"), common={}):
            assert flags.setdefault(trial.name, trial.flags) == trial.flags


def paper_config(exhibit: str, arm: str, env: str) -> Config:
    (trial,) = (
        trial
        for trial in EXHIBITS[exhibit].trials(seeds=1, root=Path("r"), common={})
        if trial.arm == arm and trial.env == env
    )
    return parse_config("train", trial.flags)


@pytest.mark.parametrize(
    ("game", "freeze", "freeze_small"),
    [
        ("Alien", 50, 100), ("Amidar", 50, 50), ("BankHeist", 50, 50), ("CrazyClimber", 100, 100), ("Krull", 50, 50),
        ("Qbert", 100, 100), ("RoadRunner", 50, 50), ("Seaquest", 50, 150),
    ],
)  # fmt: skip
def test_rainbow_settings_are_those_of_the_appendix(game: str, freeze: int, freeze_small: int) -> None:
    env = f"ALE/{game}-v5"
    plain = paper_config("fig3", "rainbow-seer", env)
    assert (plain.freeze_step, plain.steps, plain.replay.capacity) == (1000 * freeze, 500_000, None)
    assert paper_config("fig3", "rainbow", env) == dataclasses.replace(
        plain, freeze=dataclasses.replace(plain.freeze, at="never")
    )
    small = paper_config("fig4", "rainbow-seer-0.07GB", env)
    assert (small.freeze_step, small.replay.capacity) == (1000 * freeze_small, 10_000)
    assert paper_config("fig4", "rainbow-0.07GB", env).freeze_step is None
    assert paper_config("fig9", "rainbow-half", env).image.size == 42


@pytest.mark.parametrize(
    ("task", "freeze", "freeze_small", "capacity"),
    [
        ("cartpole-swingup", 10, 10, 1000), ("finger-spin", 50, 50, 1000), ("reacher-easy", 50, 30, 2000),
        ("cheetah-run", 80, 80, 1000), ("walker-walk", 60, 80, 2000),
    ],
)  # fmt: skip
def test_curl_settings_are_those_of_the_appendix(task: str, freeze: int, freeze_small: int, capacity: int) -> None:
    env = f"dm_control/{task}-v0"
    assert paper_config("fig2", "curl-seer", env).freeze_step == 1000 * freeze
    small = paper_config("fig5", "curl-seer-small", env)
    assert (small.freeze_step, small.replay.capacity) == (1000 * freeze_small, capacity)
    assert paper_config("fig5", "curl-small", env).replay.capacity == capacity
    half = paper_config("fig9", "curl-half", env)
    assert (half.image.size, half.image.crop_size, half.freeze_step) == (50, 42, None)


def test_a_small_run_is_a_share_of_the_papers() -> None:
    config = paper_config("table1", "rainbow-seer-0.07GB", "ALE/Qbert-v5")
    settings = Scale("small", 0.2, 3).settings(config, flags=())
    assert settings["steps"] == 100_000
    assert settings["freeze-at"] == 20_000
    assert settings["replay-capacity"] == 2000
    assert Scale("paper", 1.0, 5).settings(config, flags=()) == {}
    never = paper_config("fig3", "rainbow", "ALE/Qbert-v5")
    assert Scale("small", 0.2, 3).settings(never, flags=()).keys() == {"steps", "eval-every", "checkpoint-every"}


def test_transfer_follows_its_pretraining() -> None:
    trials = EXHIBITS["fig7"].trials(seeds=1, root=Path("r"), common={})
    names = [trial.name for trial in trials]
    (transfer,) = (trial for trial in trials if trial.name == "walker-walk-curl-transfer-0")
    assert transfer.after == "walker-stand-curl-for-60000-0"
    assert names.index(transfer.after) < names.index(transfer.name)
    assert transfer.flags[-2:] == ("--encoder-from", "r/runs/walker-stand-curl-for-60000-0")
    assert names.count(transfer.after) == 1


def test_planned_flops_are_those_a_real_run_counted() -> None:
    for name in ("Alien-frozen-0", "BankHeist-never-1"):
        folder = ATARI_100K / name
        record, counted = (json.loads((folder / f"{kind}.json").read_text()) for kind in ("config", "summary"))
        config = parse_config(
            "train", ["--env", record["env"], "--steps", "100000", "--freeze-at", record["freeze"]["at"]]
        )
        environment = build_environment(config, training=False)
        agent: Agent[object] = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0])
        baseline, total = run_flops(
            agent.cost,
            after=Phase.LATENTS,
            updates=1,
            steps=100_000,
            first_update=build_schedule(config).first_update,
            frozen_at=config.freeze_step,
            capacity=100_000,
        )
        assert (total, baseline) == (counted["flops"]["total"], counted["flops"]["baseline"])


def test_one_measurement_stands_for_all_runs_of_its_kind() -> None:
    def kind(*flags: str) -> Config:
        return _kind_of_speed(parse_config("train", flags))

    alien = kind("--env", "ALE/Alien-v5")
    assert kind("--env", "ALE/Qbert-v5", "--seed", "3", "--freeze-at", "never", "--replay-capacity", "900") == alien
    assert kind("--env", "ALE/Alien-v5", "--batch-size", "64") != alien
    assert kind("--env", "ALE/Alien-v5", "--image-size", "42") != alien
    cartpole = kind("--env", "dm_control/cartpole-swingup-v0")
    assert kind("--env", "dm_control/walker-walk-v0") != cartpole


@pytest.mark.parametrize("name", ["table1", "fig7"])
def test_a_dry_run_says_how_the_scale_differs(
    name: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert seer("reproduce", name, "--scale", "small", "--dry-run", "--no-measure") == 0
    said = capsys.readouterr().out
    assert said.startswith(
        f"{name}: {EXHIBITS[name].title}\nScale small: {EXHIBITS[name].small.fraction:g} of the paper's steps"
    )
    assert re.search(
        r"^Replay: (prioritised for Rainbow|uniform for CURL); --replay prioritized or uniform sets it for all",
        said,
        re.M,
    )
    assert re.search(r"\d+ runs, \d+ to go", said)
    assert not list(tmp_path.iterdir())


def test_uniform_replay_is_one_flag(capsys: Capture) -> None:
    assert seer("reproduce", "table1", "--envs", "Alien", "--dry-run", "--no-measure", "--replay", "uniform") == 0
    said = capsys.readouterr().out
    assert "Replay: uniform for Rainbow" in said
    assert said.count("--no-prioritized") == 4  # every run


def test_mistakes_are_one_line(capsys: Capture) -> None:
    for arguments, words in (
        (["fig1"], "unknown exhibit 'fig1'; use one of fig2"),
        (["table1", "--envs", "Pong"], "--envs Pong: table1 has Alien, BankHeist"),
        (["table1", "--seeds", "0"], "--seeds 0"),
        (["table1", "--scale", "huge"], "huge"),
    ):
        assert seer("reproduce", *arguments, "--dry-run") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


# Each exhibit once, from nothing to its report ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", EXHIBITS)
def test_each_exhibit_runs_to_its_report(name: str, tmp_path_factory: pytest.TempPathFactory, capsys: Capture) -> None:
    """One folder for all of them: exhibits that show the same runs share them."""
    exhibit = EXHIBITS[name]
    out = tmp_path_factory.getbasetemp() / "toy"
    assert seer("reproduce", name, "--scale", "toy", "--out", out) == 0, capsys.readouterr().out
    text = (out / f"{name}.html").read_text()
    assert "Not shown" not in text
    for x in exhibit.axes:
        for suffix in ("png", "svg"):
            assert (out / f"{name}-{x}.{suffix}").stat().st_size > 10_000
    labels = {arm.label for comparison in exhibit.comparisons for arm in comparison.arms}
    for label in labels:
        assert f">{label}</span></td>" in text
    assert text.count("data:image/png;base64,") == len(exhibit.analyses)
    for run in (out / "runs").iterdir():
        config_from_json(json.loads((run / "config.json").read_text()))
