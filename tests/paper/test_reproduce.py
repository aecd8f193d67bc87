"""The paper's exhibits: complete, planned at every scale, and (slow: make test-all) each run to its report once."""

import dataclasses
import json
import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from exhibit_plans import paper_config, planned
from finished_runs import ATARI_100K
from seer.agents.agent import Agent
from seer.config import FIELDS, Config, config_from_json, config_to_json
from seer.core.phase import Phase
from seer.fields import value_of
from seer.paper.exhibits import EXHIBITS
from seer.paper.scale import Scale, ScaleName
from seer.sweeps.speed import kind_of_speed
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.cost import RunCost
from tiny_run import config_of, seer

Capture = pytest.CaptureFixture[str]
FIGURES = [f"fig{number}" for number in range(2, 14)]


def test_every_exhibit_is_there() -> None:
    assert list(EXHIBITS) == ["fig2", "fig3", "table1", "table1-compute", "table1-memory", *FIGURES[2:]]
    for name, exhibit in EXHIBITS.items():
        assert exhibit.name == name
        assert exhibit.axes
        assert exhibit.only(exhibit.small.envs).envs
        assert exhibit.seeds == (3 if name in ("fig6", "fig7") else 5)


def test_runs_of_one_name_are_one_run_in_all_exhibits() -> None:
    """Exhibits of one scale share a folder, so a name may mean one thing only."""
    configs: dict[str, Config] = {}
    for exhibit in EXHIBITS.values():
        for trial in exhibit.trials(seeds=2, root=Path("r"), common={}):
            assert configs.setdefault(trial.name, trial.config) == trial.config
            assert config_from_json(config_to_json(trial.config)) == trial.config  # every setting is of its type


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
    small = Scale("small", 0.2, 3).scaled(config)
    assert small.steps == 100_000
    assert small.freeze.at == "20000"
    assert small.replay.capacity == 2000
    assert Scale("paper", 1.0, 5).scaled(config) == config
    never = paper_config("fig3", "rainbow", "ALE/Qbert-v5")
    small = Scale("small", 0.2, 3).scaled(never)
    assert {each.name for each in FIELDS if value_of(small, each.name) != value_of(never, each.name)} == {
        "steps", "eval_every", "checkpoint_every",
    }  # fmt: skip


def test_transfer_follows_its_pretraining() -> None:
    trials = EXHIBITS["fig7"].trials(seeds=1, root=Path("r"), common={})
    names = [trial.name for trial in trials]
    (transfer,) = (trial for trial in trials if trial.name == "walker-walk-curl-transfer-0")
    assert transfer.after == "walker-stand-curl-for-60000-0"
    assert names.index(transfer.after) < names.index(transfer.name)
    assert transfer.config.freeze.encoder_from == "r/runs/walker-stand-curl-for-60000-0"
    assert names.count(transfer.after) == 1


@pytest.mark.parametrize("scale", get_args(ScaleName))
@pytest.mark.parametrize("name", ["fig7", "fig10"])
def test_names_and_labels_state_the_steps_that_are_trained(name: str, scale: ScaleName) -> None:
    size = Scale.of(EXHIBITS[name], scale, None)
    exhibit = EXHIBITS[name].pretrained_for(size.pretraining_steps)
    labels = {variant.name: variant.label for variant in exhibit.variants.values()}
    trials = {trial.name: trial for trial in exhibit.trials(seeds=1, root=Path("r"), common={})}
    steps = {}
    for trial in trials.values():
        steps[trial.name] = size.scaled(trial.config, is_pretraining=trial.variant.startswith("curl-for-")).steps
    of_length = [trial for trial in trials.values() if trial.variant.startswith("curl-transfer-of-")]
    assert len(of_length) == (4 if name == "fig10" else 0)
    for trial in trials.values():
        if trial.variant.startswith("curl-for-"):
            assert trial.variant == f"curl-for-{steps[trial.name]}"
    for trial in of_length:
        assert trial.after is not None
        assert trial.variant == f"curl-transfer-of-{steps[trial.after]}"
        assert labels[trial.variant] == f"pretrained for {steps[trial.after]:,} steps"
    assert len(set(labels.values())) == len(labels)  # the report tells groups apart by them


@pytest.mark.parametrize("name", ["fig7", "fig10"])
def test_a_small_pretraining_is_mostly_learning(name: str) -> None:
    size = Scale.of(EXHIBITS[name], "small", None)
    exhibit = EXHIBITS[name].pretrained_for(size.pretraining_steps)
    trials = exhibit.trials(seeds=1, root=Path("r"), common={})
    sources = {trial.after for trial in trials}
    for trial in trials:
        if trial.name in sources:
            assert trial.config.first_update <= trial.config.steps / 5


def test_planned_flops_are_those_a_real_run_counted() -> None:
    for name in ("Alien-frozen-0", "BankHeist-never-1"):
        folder = ATARI_100K / name
        record, counted = (json.loads((folder / f"{kind}.json").read_text()) for kind in ("config", "summary"))
        config = config_of(["--env", record["env"], "--steps", "100000", "--freeze-at", record["freeze"]["at"]])
        environment = build_environment(config, training=False)
        agent: Agent[object] = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0])
        foretold = RunCost(config, agent.cost, Phase.LATENTS, capacity=100_000)
        assert foretold.total(config.freeze_step) == counted["flops"]["total"]
        assert foretold.total(None) == counted["flops"]["baseline"]


def test_one_measurement_stands_for_all_runs_of_its_kind() -> None:
    def kind(*flags: str) -> Config:
        return kind_of_speed(config_of(flags))

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
    said = planned(capsys, name, "--scale", "small")
    assert said.startswith(f"{name}: {EXHIBITS[name].title}\n")
    assert re.search(rf"^  scale small +{EXHIBITS[name].small.fraction:g} of the paper's steps", said, re.M)
    assert re.search(
        r"^  replay +(prioritised for Rainbow|uniform for CURL); --replay sets it for Rainbow +prioritised", said, re.M
    )
    assert re.search(r"\d+ runs, \d+ to go", said)
    assert not list(tmp_path.iterdir())


def test_small_says_all_that_it_changes_and_what_it_does_not(capsys: Capture) -> None:
    said = planned(capsys, "fig9", "--scale", "small", "--seeds", 1)
    for row in (
        "--eval-every +800 to 5,000 +2,500 to 10,000$",
        "--checkpoint-every +3,200 to 20,000 +10,000$",
        "not scaled +random actions, first update, target updates",
        "before the first update on cartpole-swingup +1,000 of the 2,000 steps before a freeze, .* 1,000 of 10,000$",
    ):
        assert re.search(f"^  {row}", said, re.M), row
    said = planned(capsys, "fig8", "--scale", "small")
    assert re.search(r"^  --snapshot-every +1,250 +10,000$", said, re.M)
    said = planned(capsys, "fig10", "--scale", "small")
    assert re.search(r"on walker-stand +1,000 of the 5,000 steps of a pretraining,", said)
    assert "learn without CURL's contrastive loss" in said
    assert "eval-every" not in planned(capsys, "fig8").partition("seer train")[0]


@pytest.mark.parametrize("name", ["fig5", "fig11"])
def test_a_small_replay_holds_what_learning_needs_and_says_so(name: str, capsys: Capture) -> None:
    said = planned(capsys, name, "--scale", "small", "--envs", "cheetah-run", "--seeds", 1)
    assert said.count("--replay-capacity 513") == 2
    assert re.search(r"^  small replay of cheetah-run +513 frames, not 200: a batch .* 1,000$", said, re.M)
    said = planned(capsys, name, "--scale", "small", "--envs", "cartpole-swingup", "--seeds", 1)
    assert said.count("--replay-capacity 200") == 2
    assert "small replay of" not in said


def test_transfer_is_told_with_its_pretraining(capsys: Capture) -> None:
    """Against the rows of the plan's own table, where the pretraining is a run like any other."""
    said = planned(capsys, "fig7", "--scale", "small", "--envs", "walker-walk")

    def flops(group: str) -> float:
        (row,) = re.findall(rf"^ walker-\w+ +{group} .*?(\d\.\d\de\+\d\d) ", said, re.M)
        return float(row)

    (pretraining,) = re.findall(
        r"^  pretraining on walker-stand for 6,000 steps +(\S+) FLOPs, counted in no", said, re.M
    )
    assert float(pretraining) == pytest.approx(flops("curl-for-6000"), rel=0.01)
    ((without, both),) = re.findall(
        r"^  CURL, frozen encoder of walker-stand, walker-walk +(\S+) FLOPs, with its pretraining (\S+)$", said, re.M
    )
    assert float(without) == pytest.approx(flops("curl-transfer"), rel=0.01)
    assert float(both) == pytest.approx(flops("curl-transfer") + flops("curl-for-6000"), rel=0.01)
    assert "with its pretraining" not in planned(capsys, "fig8")


def test_each_printed_command_is_that_of_its_seed(capsys: Capture) -> None:
    said = planned(capsys, "fig7", "--seeds", 2, "--envs", "walker-walk", "--out", "r")
    commands = [line for line in said.splitlines() if line.startswith("seer train")]
    assert sum("--seed {0,1}" in line for line in commands) == 1  # CURL from scratch
    folders = [Path(f"r/runs/walker-stand-curl-for-60000-{seed}").resolve() for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        assert sum(f"--seed {seed} --encoder-from {folder} " in f"{line} " for line in commands) == 1
        assert sum(line.endswith(f"--out {folder}") and f"--seed {seed} " in line for line in commands) == 1
    assert len(commands) == 5


def test_what_the_papers_scale_costs_is_said_with_the_way_to_a_smaller_one(capsys: Capture) -> None:
    paper, small = (
        planned(capsys, "fig8", "--seeds", 1, *more).splitlines()[-1] for more in ((), ("--scale", "small"))
    )
    assert re.match(r"1 runs, 1 to go, 1 at a time here: \S+ FLOPs; at most \S+ GB of memory and ", paper)
    assert paper.endswith("; this is the paper's scale, --scale small trains a share of it")
    assert "--scale" not in small


def test_uniform_replay_is_one_flag(capsys: Capture) -> None:
    assert seer("reproduce", "table1", "--envs", "Alien", "--dry-run", "--no-measure", "--replay", "uniform") == 0
    said = capsys.readouterr().out
    assert re.search(r"^  replay +uniform for Rainbow", said, re.M)
    assert said.count("--no-prioritized") == 4  # every run


def test_mistakes_are_one_line(capsys: Capture) -> None:
    for arguments, words in (
        (["fig1"], "unknown exhibit 'fig1'; use one of fig2"),
        (["table1", "--envs", "Pong"], "--envs Pong: table1 has Alien, BankHeist"),
        (["table1", "--seeds", "0"], "--seeds 0"),
        (["table1", "--envs"], "--envs names none; give one or more, or leave it out"),
        (["table1", "--envs", "--scale", "small"], "--envs names none"),
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
    exhibit = EXHIBITS[name].pretrained_for(Scale.of(EXHIBITS[name], "toy", None).pretraining_steps)
    out = tmp_path_factory.getbasetemp() / "toy"
    assert seer("reproduce", name, "--scale", "toy", "--out", out) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert re.match(rf"{name}: .*\n(.*\n)+?  scale toy (.*\n)+?(measuring .*\n)*\d+ runs, \d+ to go, .* FLOPs; ", said)
    text = (out / f"{name}.html").read_text()
    assert "Not shown" not in text
    for x in exhibit.axes:
        for suffix in ("png", "svg"):
            assert (out / f"{name}-{x}.{suffix}").stat().st_size > 10_000
    for variant in exhibit.variants.values():
        assert f">{variant.label}</span></td>" in text
    assert text.count("data:image/png;base64,") == len(exhibit.analyses)
    for run in (out / "runs").iterdir():
        config_from_json(json.loads((run / "config.json").read_text()))
