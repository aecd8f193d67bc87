"""Plans: runs that are others than those in the folder, and the costs of a sweep."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from drawing import needs_drawing
from seer.config import Config, config_to_json
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.replay import FileBlock
from seer.runs.checkpoints import save_checkpoint
from seer.runs.folder import RunFolder
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import Planned, cost_trials, refuse_other_runs
from seer.sweeps.plan_table import total
from seer.sweeps.trial import Needs, Trial
from seer.training.budget import FILE_BUFFERS
from seer.training.build import build
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.cost import RunCost
from tiny_run import config_of, files, seer
from tiny_sweep import FREEZE_AT, STEPS, complaint, write_grid

Capture = pytest.CaptureFixture[str]
ALIEN = "ALE/Alien-v5"
ANY = Config("e")


def planned(trial: Trial, config: Config) -> Planned:
    return Planned(dataclasses.replace(trial, config=config), Needs(), 1, 1, 1, 1, (1, 1))


def test_what_a_run_never_reads_makes_it_no_other_run(tmp_path: Path) -> None:
    """Thresholds of --freeze-at auto in a run that freezes at a step; nor does a setting younger than the run."""

    def check(at: str, **freeze: object) -> None:
        config = config_of(["--env", ALIEN, "--freeze-at", at])
        record = config_to_json(config)
        (folder / "config.json").write_text(json.dumps(record | {"freeze": record["freeze"] | freeze}))
        refuse_other_runs([planned(trial, config)], tmp_path)

    trial = Trial("Alien-x-0", ALIEN, "x", 0, ANY)
    folder = trial.folder(tmp_path)
    RunFolder.create(folder, config_to_json(config_of(["--env", ALIEN]))).close()
    for at in ("50000", "never"):
        check(at, similarity=0.99, patience=9)
    with pytest.raises(SettingError, match=r"it differs in freeze\.similarity"):
        check("auto", similarity=0.99)
    older = json.loads((folder / "config.json").read_text())
    del older["freeze"]["latent_pool"]
    (folder / "config.json").write_text(json.dumps(older | {"freeze": older["freeze"] | {"similarity": 0.985}}))
    config = config_of(["--env", ALIEN, "--freeze-at", "auto"])
    refuse_other_runs([planned(trial, config)], tmp_path)


def test_a_run_from_another_encoder_is_another_run(tmp_path: Path) -> None:
    def config(source: str) -> Config:
        return config_of(["--env", ALIEN, "--steps", "300", "--encoder-from", source])

    trial = Trial("Alien-x-0", ALIEN, "x", 0, ANY)
    RunFolder.create(trial.folder(tmp_path), config_to_json(config("here/runs/stand-for-6000-0"))).close()

    def check(source: str) -> None:
        refuse_other_runs(
            [Planned(dataclasses.replace(trial, config=config(source)), Needs(), 1, 1, 1, 1, (1, 1))], tmp_path
        )

    check("elsewhere/runs/stand-for-6000-0")
    with pytest.raises(SettingError, match=r"another run \(it differs in freeze\.encoder_from\)"):
        check("here/runs/stand-for-3000-0")


def test_a_run_from_another_run_of_the_same_name_is_another_run(tmp_path: Path) -> None:
    """The source may have been moved, or copied with the whole sweep; another agent may not stand in for it."""
    one, other, copy = (tmp_path / name / "source" for name in ("one", "other", "copy"))
    for number, source in enumerate((one, other)):
        save_checkpoint(source / "checkpoints", 1, {"agent": {"weight": number}})
    shutil.copytree(one, copy)
    config = config_of(["--env", ALIEN])
    trial = Trial("Alien-x-0", ALIEN, "x", 0, ANY)

    def from_run(source: Path) -> Config:
        return dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, agent_from=str(source)))

    RunFolder.create(trial.folder(tmp_path), config_to_json(from_run(one))).close()
    refuse_other_runs([planned(trial, from_run(one)), planned(trial, from_run(copy))], tmp_path)
    with pytest.raises(SettingError, match=r"another run \(it differs in freeze\.agent_from\)"):
        refuse_other_runs([planned(trial, from_run(other))], tmp_path)
    shutil.rmtree(one)
    refuse_other_runs([planned(trial, from_run(other))], tmp_path)


def test_what_computes_in_another_precision_is_another_run_if_one_was_asked_for(tmp_path: Path) -> None:
    def config(*flags: str) -> Config:
        return config_of(["--env", "dm_control/walker-walk-v0", *flags])

    trial = Trial("walker-x-0", "e", "x", 0, ())
    RunFolder.create(trial.folder(tmp_path), config_to_json(config("--precision", "bfloat16"))).close()

    def check(*flags: str) -> None:
        refuse_other_runs(
            [Planned(dataclasses.replace(trial, config=config(*flags)), Needs(), 1, 1, 1, 1, (1, 1))], tmp_path
        )

    check()  # auto: begun on a machine that decided so
    with pytest.raises(SettingError, match=r"another run \(it differs in learning\.precision\)"):
        check("--precision", "float32")


@pytest.mark.parametrize(
    "flags",
    [
        ("--env", "dm_control/cheetah-run-v0", "--replay-capacity", "1000"),
        ("--env", "dm_control/cartpole-swingup-v0", "--replay-capacity", "1000", "--encoder", "impala"),
        ("--env", ALIEN, "--replay-capacity", "10000"),
    ],
)
def test_a_trial_asks_for_the_memory_of_its_runs_own_budget(flags: tuple[str, ...]) -> None:
    if flags[1].startswith("dm_control"):
        needs_drawing()
    config = config_of((*flags, "--hidden-units", "32", "--threads", "1", "--eval-episodes", "1", "--device", "cpu"))
    trial = Trial("a", config.env, "x", 0, config)
    (found,) = cost_trials([trial], SweepOptions())
    assert found.needs.num_bytes == build(config).budget
    (found,) = cost_trials([trial], SweepOptions(trial_memory="9GB", trial_cpus=3))
    assert found.needs == Needs(cpus=3, num_bytes=9 * 10**9)


def test_a_replay_in_a_file_takes_room_on_the_disk_in_place_of_memory(disk: Path) -> None:
    flags = ("--env", ALIEN, "--replay-capacity", "50000", "--threads", "1", "--eval-episodes", "1", "--device", "cpu")
    config = config_of((*flags, "--replay-on", str(disk)))
    trials = [Trial("a", ALIEN, "x", 0, each) for each in (config, config_of(flags))]
    on_disk, in_memory = cost_trials(trials, SweepOptions())
    assert on_disk.needs.num_bytes == in_memory.needs.num_bytes - 50_000 * 7056 + FILE_BUFFERS
    assert on_disk.num_bytes == on_disk.needs.file_bytes == 50_000 * 7056
    assert in_memory.needs.file_bytes == 0
    assert on_disk.disk_bytes == in_memory.disk_bytes  # of checkpoints
    assert " of memory, 352.8 MB of replays in files and " in total([on_disk], root=disk, room=None)
    assert "of replays in files" not in total([in_memory], root=disk, room=None)
    run = build(config)
    assert run.budget == on_disk.needs.num_bytes
    assert isinstance(run.replay.replays[0]._ring.memory, FileBlock)


@pytest.mark.parametrize("flags", [("--trial-memory", "1000TB"), ("--trial-cpus", "4000"), ("--jobs", "1")])
def test_a_dry_run_counts_by_what_a_run_asks_for(flags: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    grid = write_grid(tmp_path, seeds=1)
    assert seer("sweep", grid, "--dry-run", "--no-measure", *flags) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("2 runs, 2 to go, 1 at a time here: ")
    assert ("at most 1000.00 TB of memory" in said) == ("1000TB" in flags)


@pytest.mark.parametrize("every", [1, 7])
def test_an_automatic_freeze_costs_at_most_its_dearest_moment(every: int, tmp_path: Path, capsys: Capture) -> None:
    """Against every moment there is; the table and the sum say that they are bounds."""
    flags = (
        *("--env", ALIEN, "--steps", "300", "--freeze-at", "auto", "--freeze-earliest", "20", "--first-update", "60"),
        *("--replay-capacity", "250", "--probe-every", "40", "--probe-size", "32", "--threads", "1", "--device", "cpu"),
        *("--update-every", str(every)),
    )
    config = config_of(flags)
    (found,) = cost_trials([Trial("a", ALIEN, "x", 0, config)], SweepOptions())
    environment = build_environment(config, training=False)
    cost = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0]).cost
    run = RunCost(config, cost, Phase.LATENTS, capacity=250)
    each = [run.total(moment) for moment in (None, *range(20, 301))]
    assert found.flops == max(each) + 7 * 2 * 32 * cost.encoder.multiply_adds
    grid = tmp_path / "grid.toml"
    grid.write_text(f'envs = ["{ALIEN}"]\n[settings]\nfreeze-at = "auto"\nsteps = 20000\n')
    assert seer("sweep", grid, "--dry-run", "--no-measure") == 0
    said = capsys.readouterr().out
    assert re.search(r" auto +at most \d\.\d\de\+\d\d \(10\d%\) ", said)
    assert re.search(r"at a time here: at most \S+ FLOPs;", said)


def test_a_training_can_be_tried_dry(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = (
        "--env",
        ALIEN,
        "--steps",
        2000,
        "--freeze-at",
        1700,
        "--replay-capacity",
        300,
        "--eval-episodes",
        1,
        "--dry-run",
    )
    assert seer("train", *flags) == 0
    said = capsys.readouterr().out
    for words in (
        "Rainbow + SEER, freeze at 1,700",
        "2.1 MB of memory; 7,056 → 2,304 bytes a step",
        "hours at the speed",
    ):
        assert words in said
    assert "--replay-capacity 5" in complaint(capsys, "train", *flags, "--replay-capacity", 5)
    assert "fewer than 29 are always alike" in complaint(
        capsys, "train", "--env", ALIEN, "--freeze-at", "auto", "--probe-size", 28
    )
    assert files(tmp_path) == {}


def test_other_runs_of_the_same_name_are_not_touched(tmp_path: Path, capsys: Capture, finished_run: Path) -> None:
    out = tmp_path / "sweep"
    shutil.copytree(finished_run, out / "runs" / "Pong-never-0")
    before = files(out)
    line = complaint(capsys, "sweep", "--envs", "ALE/Pong-v5", "--freeze-at", "never", "--out", out)
    assert "Pong-never-0 is another run (it differs in" in line
    assert "learning.hidden_units" in line
    assert files(out) == before


def test_one_sweep_at_a_time(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "sweep"
    with RunFolder.create(out, {}):
        assert "another process" in complaint(
            capsys, "sweep", write_grid(tmp_path, seeds=1), "--out", out, "--no-measure"
        )


def test_a_dry_run_says_what_it_costs_and_does_nothing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, seeds=3)
    before = files(tmp_path)
    assert seer("sweep", grid, "--dry-run") == 0
    said = capsys.readouterr().out
    assert files(tmp_path) == before
    assert "--seed {0,1,2}" in said
    assert re.search(rf"Alien +never +3 +{STEPS} +never +\S+ \(100%\) +1\.4 MB +7056 ", said)
    assert re.search(rf"Alien +seer +3 +{STEPS} +{FREEZE_AT} +\S+ \(\d\d%\) +1\.4 MB +7056 → 2304 +\d", said)
    assert re.search(r"6 runs, 6 to go, \d at a time here: \S+ FLOPs; .*; \d+\.\d hours of training", said)
