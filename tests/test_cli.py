"""The command line: every mistake is one line and changes nothing; presets, tables, pictures and films."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import gymnasium
import matplotlib.image
import pytest
import torch

from drawing import needs_drawing
from seer import __version__
from seer.config import AgentName, Config, config_from_json, config_to_json
from seer.errors import SettingError
from seer.presets import preset
from seer.runs.checkpoints import save_checkpoint
from seer.runs.folder import read_metrics
from seer.training.build import build_agent, describe_computing, pick_convolution, pick_precision, settle_computing
from seer.validation import parse_memory
from tiny_run import FLAGS, config_of, files, seer

PONG = ("--env", "ALE/Pong-v5")
COMMANDS = (
    "train",
    "resume",
    "eval",
    "sweep",
    "reproduce",
    "plot",
    "report",
    "flops",
    "memory",
    "bench",
    "export",
    "analyze",
)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: Capture, *arguments: object) -> str:
    """The one line on stderr with which `seer` refuses its arguments, having changed no file."""
    capsys.readouterr()
    before = files(Path.cwd())
    assert seer(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("seer: error: ")
    assert output.err.endswith("\n")
    (line,) = output.err.splitlines()
    assert files(Path.cwd()) == before
    return line


# Bad flags ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        # a game
        (["--env", "ALE/Alein-v5"], ["--env", "ALE/Alein-v5", "ALE/Alien-v5"]),
        (["--env=SpaceInvadersNoFrameskip-v4"], ["--env", "ALE/SpaceInvaders-v5"]),
        (["--env", "Alien"], ["--env 'Alien'", "ALE/Alien-v5"]),
        (["--env", "CartPole-v1"], ["--env CartPole-v1", "--render-pixels"]),
        ([], ["--env", "seer train --env"]),
        (["--steps", "100"], ["--env"]),
        (["--env"], ["--env"]),
        # the freeze
        ([*PONG, "--steps", "1000", "--freeze-at", "1001"], ["--freeze-at 1001", "--steps 1000", "never"]),
        ([*PONG, "--steps", "1000"], ["--freeze-at 50000", "--steps 1000"]),
        ([*PONG, "--freeze-at", "0"], ["--freeze-at 0", "never"]),
        ([*PONG, "--freeze-at", "1600"], ["--freeze-at 1600", "never learnt", "step 1600", "--first-update"]),
        (
            [*PONG, "--freeze-at", "2100", "--num-envs", "100"],
            ["--freeze-at 2100", "step 2100", "--n-step"],
        ),
        (
            [*PONG, "--freeze-at", "auto", "--freeze-earliest", "9", "--freeze-latest", "1600"],
            ["--freeze-latest 1600", "never learnt"],
        ),
        ([*PONG, "--freeze-at", "auto", "--steps", "3000"], ["--freeze-earliest 5000", "--steps 3000"]),
        ([*PONG, "--freeze-at", "auto", "--steps", "9999"], ["before step 10000", "--steps 9999", "--freeze-latest"]),
        (
            [*PONG, "--freeze-at", "auto", "--steps", "12000", "--freeze-patience", "4"],
            ["before step 12500", "--freeze-patience 4"],
        ),
        ([*PONG, "--freeze-at", "auto", "--freeze-latest", "4000"], ["--freeze-latest 4000", "--freeze-earliest 5000"]),
        ([*PONG, "--freeze-at", "auto", "--freeze-latest", "600000"], ["--freeze-latest 600000", "--steps 500000"]),
        ([*PONG, "--freeze-at", "auto", "--freeze-earliest", "-1"], ["--freeze-earliest -1", "0 or more"]),
        ([*PONG, "--freeze-at", "auto", "--freeze-similarity", "1.5"], ["--freeze-similarity 1.5", "between 0 and 1"]),
        ([*PONG, "--freeze-patience", "0"], ["--freeze-patience 0", "more than 0"]),
        ([*PONG, "--probe-every", "0"], ["--probe-every 0", "more than 0"]),
        ([*PONG, "--probe-size", "1"], ["--probe-size 1", "2 or more"]),
        (["--env", "dm_control/walker-walk-v0", "--prioritized"], ["--prioritized", "curl"]),
        ([*PONG, "--freeze-at", "00"], ["--freeze-at '00'", "whole number"]),
        ([*PONG, "--freeze-at", "9" * 5000], ["whole number"]),
        ([*PONG, "--snapshot-every", "0"], ["--snapshot-every 0", "more than 0"]),
        ([*PONG, "--reset-heads-every", "0"], ["--reset-heads-every 0", "more than 0"]),
        ([*PONG, "--reset-encoder"], ["--reset-encoder", "--reset-heads-every"]),
        ([*PONG, "--reset-encoder", "--reset-heads-every", "9"], ["--reset-encoder", "latents", "--freeze-at never"]),
        ([*PONG, "--reset-encoder", "--reset-heads-every", "9", "--freeze-at", "auto"], ["--reset-encoder", "latents"]),
        ([*PONG, "--freeze-at", "-5"], ["--freeze-at", "never"]),
        ([*PONG, "--freeze-at", "soon"], ["--freeze-at", "soon", "never"]),
        ([*PONG, "--freeze-at", "1.5"], ["--freeze-at", "1.5", "never"]),
        ([*PONG, "--num-crops", "0"], ["--num-crops 0"]),
        ([*PONG, "--num-crops", "-4"], ["--num-crops -4"]),
        ([*PONG, "--num-crops", "4"], ["--num-crops 4", "--num-crops 1"]),
        # the replay
        ([*PONG, "--replay-capacity", "51"], ["--replay-capacity 51", "batch size + n-step", "52"]),
        ([*PONG, "--replay-capacity", "0"], ["--replay-capacity 0", "52"]),
        ([*PONG, "--replay-memory", "100kB"], ["--replay-memory 100kB", "batch size + n-step", "0.4MB"]),
        ([*PONG, "--replay-memory", "lots"], ["--replay-memory", "lots", "70MB"]),
        ([*PONG, "--replay-memory", "70 XB"], ["--replay-memory", "70 XB", "70MB"]),
        ([*PONG, "--replay-memory", "-70MB"], ["--replay-memory"]),
        ([*PONG, "--replay-memory", "0GB"], ["--replay-memory", "0GB"]),
        ([*PONG, "--replay-memory", "70MB", "--replay-capacity", "500"], ["--replay-memory", "--replay-capacity"]),
        # numbers out of range
        ([*PONG, "--steps", "0"], ["--steps 0"]),
        ([*PONG, "--steps", "1e5"], ["--steps '1e5'", "whole number; write 100000;"]),
        ([*PONG, "--steps", "100,000"], ["--steps '100,000'", "write 100000;"]),
        ([*PONG, "--steps", "inf"], ["--steps 'inf'", "no whole number;"]),
        ([*PONG, "--discount", "high"], ["--discount 'high' is no number"]),
        ([*PONG, "--eval-every", "0"], ["--eval-every 0"]),
        ([*PONG, "--eval-episodes", "0"], ["--eval-episodes 0"]),
        ([*PONG, "--checkpoint-every", "0"], ["--checkpoint-every 0"]),
        ([*PONG, "--log-every", "-1"], ["--log-every -1"]),
        ([*PONG, "--batch-size", "0"], ["--batch-size 0"]),
        ([*PONG, "--n-step", "0"], ["--n-step 0"]),
        ([*PONG, "--discount", "1.5"], ["--discount 1.5"]),
        ([*PONG, "--learning-rate", "0"], ["--learning-rate 0"]),
        ([*PONG, "--learning-rate", "nan"], ["--learning-rate nan"]),
        ([*PONG, "--num-atoms", "1"], ["--num-atoms 1"]),
        ([*PONG, "--min-return", "10"], ["--min-return 10", "--max-return 10"]),
        ([*PONG, "--seed", "-1"], ["--seed -1"]),
        ([*PONG, "--threads", "0"], ["--threads 0"]),
        ([*PONG, "--device", "abacus"], ["--device abacus", "cpu"]),
        ([*PONG, "--device", "cuda:99"], ["--device cuda:99", "cpu"]),
        # what the parser finds
        ([*PONG, "--stepz", "10"], ["--stepz", "--help"]),
        ([*PONG, "surplus"], ["surplus", "--help"]),
        ([*PONG, "--steps"], ["--steps", "--help"]),
        ([*PONG, "--agent"], ["--agent", "--help"]),
        ([*PONG, "--steps", "many"], ["--steps", "many", "--help"]),
        ([*PONG, "--steps", "1e6"], ["--steps", "1e6", "--help"]),
        ([*PONG, "--agent", "alphago"], ["--agent", "alphago", "rainbow"]),
        ([*PONG, "--encoder", "large"], ["--encoder", "large", "data-efficient"]),
        ([*PONG, "--prioritized", "maybe"], ["maybe", "--help"]),
        ([*PONG, "--latent-dtype", "int4"], ["--latent-dtype", "int4", "int8"]),
        ([*PONG, "--latent-dtype", "int8", "--encoder-from", "x"], ["--latent-dtype int8", "--freeze-at 0", "float16"]),
        ([*PONG, "--latent-dtype", "int8", "--freeze-at", "255"], ["--freeze-at 255", "give 256 or more", "float16"]),
        (
            [*PONG, "--latent-dtype", "int8", "--freeze-at", "1000", "--num-envs", "4"],
            ["--freeze-at 1000", "give 1024 or more"],
        ),
        (
            [*PONG, "--latent-dtype", "int8", "--freeze-at", "auto", "--freeze-earliest", "9", "--freeze-latest", "9"],
            ["--freeze-latest 9", "give 256 or more"],
        ),
        ([*PONG, "--freeze-latest", "9000"], ["--freeze-latest 9000", "--freeze-at is 50000", "leave one"]),
        (
            [*PONG, "--freeze-at", "auto", "--freeze-earliest", "0", "--freeze-latest", "0"],
            ["--freeze-latest 0", "1 at least"],
        ),
        (
            [*PONG, "--freeze-at", "auto", "--probe-every", "20", "--steps", "20000"],
            ["--probe-every 20", "always alike", "give "],
        ),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None,
)
def test_a_bad_flag_is_one_line(flags: list[str], said: list[str], capsys: Capture) -> None:
    line = refused(capsys, "train", *flags)
    for words in said:
        assert words in line


@pytest.mark.parametrize("command", ["flops", "memory"])
def test_tables_refuse_what_training_refuses(command: str, capsys: Capture) -> None:
    assert "ALE/Pong-v5" in refused(capsys, command, "--env", "ALE/Pnog-v5")
    assert "--env" in refused(capsys, command)
    assert "--freeze-at" in refused(capsys, command, *PONG, "--freeze-at", "999999999")
    assert "--stepz" in refused(capsys, command, *PONG, "--stepz", "1")


@pytest.mark.parametrize("command", ["trian", "--env", "Train", ""])
def test_an_unknown_command_is_one_line(command: str, capsys: Capture) -> None:
    line = refused(capsys, command)
    assert repr(command) in line
    assert all(known in line for known in COMMANDS)


def test_a_real_process_prints_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        "from seer.cli import main; main()",
        "train",
        "--env",
        "ALE/Alein-v5",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("seer: error: ")
    assert not list(tmp_path.iterdir())


# Bad folders -------------------------------------------------------------------------------------------------------


def test_a_run_folder_in_use_is_left_alone(stopped_run: Path, capsys: Capture) -> None:
    shutil.copytree(stopped_run, "run")
    line = refused(capsys, "train", *FLAGS, "--out", "run")
    assert "--out run" in line
    assert "seer resume run" in line
    Path("notes").mkdir()
    Path("notes/thesis.txt").write_text("years of work")
    assert "--out notes" in refused(capsys, "train", *FLAGS, "--out", "notes")
    assert "--out notes/thesis.txt" in refused(capsys, "train", *FLAGS, "--out", "notes/thesis.txt")
    assert "--out notes/thesis.txt/run" in refused(capsys, "train", *FLAGS, "--out", "notes/thesis.txt/run")


@pytest.mark.parametrize("command", ["resume", "eval", "plot"])
def test_what_is_no_run_is_refused(command: str, capsys: Capture) -> None:
    assert "nowhere" in refused(capsys, command, "nowhere")
    Path("empty").mkdir()
    assert "config.json" in refused(capsys, command, "empty")
    Path("empty/config.json").write_text("{'env':")
    assert "config.json" in refused(capsys, command, "empty")
    Path("empty/config.json").write_text("[1, 2]")
    assert "config.json" in refused(capsys, command, "empty")


@pytest.mark.parametrize("command", ["resume", "eval", "plot"])
def test_a_folder_must_be_given(command: str, capsys: Capture) -> None:
    assert "folder" in refused(capsys, command).lower()


def test_a_finished_run_is_not_resumed(finished_run: Path, capsys: Capture) -> None:
    shutil.copytree(finished_run, "run")
    line = refused(capsys, "resume", "run")
    assert "finished" in line
    assert "seer eval" in line


def flip_a_byte(checkpoint: Path) -> None:
    file = checkpoint / "agent.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_short(checkpoint: Path) -> None:
    file = checkpoint / "state.json"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_file(checkpoint: Path) -> None:
    (checkpoint / "agent.safetensors").unlink()


def lose_all(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint.parent)


def write_another_program(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text(json.dumps({"model": "resnet"}))


def belong_to_another_encoder(checkpoint: Path) -> None:
    change_config(checkpoint.parents[1], learning={"encoder": "canonical"})


def belong_to_other_units(checkpoint: Path) -> None:
    change_config(checkpoint.parents[1], learning={"hidden_units": 77})


def belong_to_another_agent(checkpoint: Path) -> None:
    change_config(checkpoint.parents[1], value={"noisy": False, "dueling": False, "distributional": False})


def hold_other_parts(checkpoint: Path) -> None:
    save_checkpoint(checkpoint.parent, 31, {"weather": {"sunny": True}})


def change_config(run: Path, **groups: object) -> None:
    config = json.loads((run / "config.json").read_text())
    for name, change in groups.items():
        config[name] = config[name] | change if isinstance(change, dict) else change
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("command", ["resume", "eval"])
@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte, cut_short, lose_a_file, lose_all, write_another_program, belong_to_another_encoder,
        belong_to_other_units, belong_to_another_agent, hold_other_parts,
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_checkpoint_is_refused(
    damage: Callable[[Path], None], command: str, stopped_run: Path, capsys: Capture
) -> None:
    """Nothing of the run is lost or added: it can be repaired and resumed."""
    shutil.copytree(stopped_run, "run")
    damage(Path("run/checkpoints/step-000000030"))
    assert "checkpoint" in refused(capsys, command, "run")


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"steps": "many"}, "config.json"),
        ({"steps": 0}, "--steps"),
        ({"freeze": {"at": 700}}, "config.json"),
        ({"freeze": {"at": "99999"}}, "--freeze-at"),
        ({"learning": {"momentum": 0.9}}, "config.json"),
        ({"environment": "ALE/Pong-v5"}, "config.json"),
        ({"env": "ALE/Pnog-v5"}, "ALE/Pong-v5"),
        ({"replay": {"capacity": 301}}, "replay.capacity: 300 there"),
        ({"env": "ALE/Breakout-v5"}, "checkpoint"),
    ],
    ids=str,
)
def test_a_config_changed_by_hand_is_refused(
    groups: dict[str, object], said: str, stopped_run: Path, capsys: Capture
) -> None:
    shutil.copytree(stopped_run, "run")
    change_config(Path("run"), **groups)
    assert said in refused(capsys, "resume", "run")


def test_a_stopped_run_says_how_to_go_on(stopped_run: Path) -> None:
    assert (stopped_run / "checkpoints" / "step-000000030").is_dir()
    assert not (stopped_run / "summary.json").exists()


def test_bad_pictures_and_films(finished_run: Path, stopped_run: Path, capsys: Capture) -> None:
    shutil.copytree(stopped_run, "unfinished")
    assert "unfinished" in refused(capsys, "plot", "unfinished")  # no evaluation yet
    shutil.copytree(finished_run, "run")
    assert "--out" in refused(capsys, "plot", "run", "--out", "curve.docx")
    assert "--x" in refused(capsys, "plot", "run", "--x", "parsecs")
    Path("film.mp4").write_bytes(b"a wedding")
    assert "film.mp4" in refused(capsys, "eval", "run", "--episodes", "1", "--video", "film.mp4")
    assert ".mp4" in refused(capsys, "eval", "run", "--episodes", "1", "--video", "film.gif")
    assert "folder" in refused(capsys, "eval", "run", "--episodes", "1", "--video", "nowhere/film.mp4")
    assert "--episodes 0" in refused(capsys, "eval", "run", "--episodes", "0")
    Path("run/metrics.jsonl").write_text('{"kind": "eval"\n{"kind": "train"}\n')
    assert "metrics.jsonl" in refused(capsys, "plot", "run")
    Path("run/metrics.jsonl").unlink()
    assert "metrics.jsonl" in refused(capsys, "plot", "run")


# Settings ----------------------------------------------------------------------------------------------------------

FREEZE_AT = {
    "Alien": 50_000, "Amidar": 50_000, "BankHeist": 50_000, "CrazyClimber": 100_000,
    "Krull": 50_000, "Qbert": 100_000, "RoadRunner": 50_000, "Seaquest": 50_000,
}  # fmt: skip


@pytest.mark.parametrize(("game", "step"), FREEZE_AT.items())
def test_the_papers_games_freeze_when_the_paper_says(game: str, step: int) -> None:
    assert config_of(["--env", f"ALE/{game}-v5"]).freeze_step == step
    assert preset(f"ALE/{game}-v5", "dqn").freeze_step == step


def test_other_games_get_the_common_step() -> None:
    assert config_of(list(PONG)).freeze_step == 50_000


def test_the_papers_settings() -> None:
    """SPEC, section 3."""
    config = config_of(["--env", "ALE/Alien-v5"])
    learning, value, replay = config.learning, config.value, config.replay
    assert (config.steps, config.eval_every, config.eval_episodes) == (500_000, 10_000, 10)
    assert (learning.first_update, learning.batch_size, learning.hidden_units) == (1600, 32, 256)
    assert (learning.discount, learning.learning_rate, learning.adam_epsilon) == (0.99, 1e-4, 1.5e-4)
    assert (learning.max_gradient_norm, learning.target_every, learning.updates_per_step) == (10, 2000, 1)
    assert (learning.encoder, config.freeze.num_crops) == ("data-efficient", 1)
    assert (value.num_atoms, value.min_return, value.max_return, value.noisy_sigma) == (51, -10, 10, 0.1)
    assert (value.double, value.dueling, value.noisy, value.distributional) == (True, True, True, True)
    assert (replay.prioritized, replay.priority_exponent, replay.importance_exponent, replay.n_step) == (
        True, 0.5, 0.4, 20,
    )  # fmt: skip
    assert replay.memory is replay.capacity is None  # as large as the run


CONTROL = {
    # action repeat, steps, T_f, batch, learning rate, evaluation
    "cartpole-swingup": (8, 80_000, 10_000, 128, 1e-3, 2500),
    "finger-spin": (2, 250_000, 50_000, 128, 1e-3, 10_000),
    "reacher-easy": (4, 125_000, 50_000, 128, 1e-3, 10_000),
    "cheetah-run": (4, 125_000, 80_000, 512, 2e-4, 10_000),
    "walker-walk": (2, 250_000, 60_000, 128, 1e-3, 10_000),
}


@pytest.mark.parametrize(("task", "expected"), CONTROL.items())
@pytest.mark.parametrize("agent", ["curl", "sac"])
def test_the_papers_settings_for_control(task: str, expected: tuple[float, ...], agent: AgentName) -> None:
    """SPEC, section 3."""
    config = preset(f"dm_control/{task}-v0", agent)
    learning, image, sac = config.learning, config.image, config.sac
    found = (image.action_repeat, config.steps, config.freeze_step, learning.batch_size, learning.learning_rate)
    assert (*found, config.eval_every) == expected
    assert (image.size, image.crop_size, image.stack, config.freeze.num_crops) == (100, 84, 3, 4)
    assert (learning.hidden_units, learning.first_update, learning.updates_per_step) == (1024, 1000, 1)
    assert (learning.discount, learning.encoder, learning.target_every) == (0.99, "sac-ae", 2)
    assert (sac.latent_size, sac.random_steps, sac.actor_every) == (50, 1000, 2)
    assert (sac.initial_temperature, sac.temperature_learning_rate) == (0.1, 1e-4)
    assert (sac.critic_tau, sac.encoder_tau, config.eval_episodes) == (0.01, 0.05, 10)
    assert (config.replay.memory, config.replay.capacity) == (None, None)  # as large as the run


def test_the_optimisers_betas_are_the_papers() -> None:
    """(0.9, 0.999) of the networks, (0.5, 0.999) of the temperature."""
    actions = gymnasium.spaces.Box(-1, 1, (1,))
    environment: Any = SimpleNamespace(frame_shape=(3, 100, 100), stack=3, action_space=actions)
    agent = build_agent(preset("dm_control/cartpole-swingup-v0"), environment, torch.device("cpu"), [0, 1, 2, 3])
    found = {name: each.param_groups[0]["betas"] for name, each in agent.optimizers.items()}
    assert found.pop("temperature") == (0.5, 0.999)
    assert set(found.values()) == {(0.9, 0.999)}


def test_flags_override_the_preset() -> None:
    flags = {
        "--agent": "rainbow", "--steps": "9000", "--seed": "7", "--freeze-at": "never", "--replay-memory": "70MB",
        "--num-crops": "1", "--eval-every": "10", "--eval-episodes": "2", "--checkpoint-every": "30",
        "--encoder": "canonical", "--device": "cpu", "--out": "somewhere",
    }  # fmt: skip
    words = [word for pair in flags.items() for word in pair]
    config = config_of(["--env", "ALE/Qbert-v5", *words, "--no-prioritized", "--no-double"])
    assert (config.steps, config.seed, config.freeze_step, config.replay.memory) == (9000, 7, None, "70MB")
    assert (config.eval_every, config.eval_episodes, config.checkpoint_every) == (10, 2, 30)
    assert (config.learning.encoder, config.device, config.out) == ("canonical", "cpu", "somewhere")
    assert (config.replay.prioritized, config.value.double, config.value.dueling) == (False, False, True)
    assert config_of(["--env=ALE/Qbert-v5"]).freeze_step == 100_000
    assert config_of(["--env=ALE/Qbert-v5", "--freeze-at", "auto"]).freeze_step is None
    for other_run in (["--encoder-from", "runs/a"], ["--encoder-from=runs/a"]):
        assert config_of(["--env=ALE/Qbert-v5", *other_run]).freeze_step == 0
        assert config_of(["--env=ALE/Qbert-v5", *other_run, "--freeze-at", "7"]).freeze_step == 7
    assert config_of([*PONG, "--freeze-at", "1601"]).freeze_step == 1601
    assert config_of([*PONG, "--replay-capacity", "10000"]).replay.capacity == 10_000


@pytest.mark.parametrize("words", [("--agent", "dqn"), ("--agent=dqn",)])
def test_dqn_is_rainbow_with_its_parts_off(words: tuple[str, ...]) -> None:
    config = config_of([*PONG, *words])
    value, replay = config.value, config.replay
    assert config.agent == "dqn"
    assert (value.double, value.dueling, value.noisy, value.distributional) == (False,) * 4
    assert (replay.prioritized, replay.n_step) == (False, 1)
    assert config_of([*PONG, *words, "--double", "--n-step", "3"]).value.double


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("70MB", 70_000_000), ("1.5GB", 1_500_000_000), ("64MiB", 64 << 20), ("1 GiB", 1 << 30), ("9000", 9000),
        ("512 B", 512), ("2kB", 2000), ("2KB", 2000), ("0.07GB", 70_000_000), ("1e9", None), ("", None), ("MB", None),
    ],
)  # fmt: skip
def test_memory_sizes(text: str, count: int | None) -> None:
    if count is None:
        with pytest.raises(SettingError, match="--replay-memory"):
            parse_memory(text)
    else:
        assert parse_memory(text) == count


def test_a_command_that_is_nearly_one(capsys: Capture) -> None:
    assert "unknown command 'tran'; did you mean train? use one of train, resume" in refused(capsys, "tran")
    assert seer("--version") == 0
    assert capsys.readouterr().out == f"seer {__version__}\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--freeze-at", "1900", "--replay-memory", "70"), "holds 0 frames"),
        (("--freeze-at", "1900", "--replay-memory", "10TB"), "more than the"),
        (("--freeze-at", "1900", "--out", "taken"), "--out taken has something in it already"),
        (("--freeze-at", "1900", "--out", "/dev/null/run"), "--out /dev/null/run can't be written"),
        (("--encoder-from", "nowhere"), "nowhere is no run"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(flags: tuple[str, ...], said: str, capsys: Capture) -> None:
    Path("taken").mkdir()
    Path("taken/thesis.tex").write_text("chapter 1")
    train = ("train", *PONG, "--steps", "2000", *flags)
    lines = [refused(capsys, *train, *dry).partition(" that are free")[0] for dry in ((), ("--dry-run",))]
    assert said in lines[0]
    assert lines[0][:90] == lines[1][:90]  # then comes what is free at the moment


def test_a_config_survives_its_file() -> None:
    config = config_of([*PONG, "--agent", "dqn", "--replay-memory", "70MB", "--freeze-at", "never"])
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_a_run_records_its_resolved_settings(finished_run: Path) -> None:
    config = config_from_json(json.loads((finished_run / "config.json").read_text()))
    assert config.learning.precision == "float32"  # settled, for wherever it goes on
    assert isinstance(config, Config)
    assert (config.env, config.steps, config.freeze_step, config.replay.capacity) == ("ALE/Pong-v5", 1000, 700, 300)
    assert config.learning.target_every == 50
    assert config.learning.adam_epsilon == 1.5e-4  # not given: the preset's


# What commands print and write -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, flag: str, capsys: Capture) -> None:
    assert seer(command, flag) == 0
    text = capsys.readouterr().out
    assert f"Usage: seer {command}" in text
    named = {
        "resume": "FOLDER", "eval": "--video", "plot": "--x", "reproduce": "--scale", "report": "--out",
        "bench": "--markdown", "export": "--onnx", "analyze": "svcca RUN",
    }.get(command, "--freeze-at")  # fmt: skip
    assert named in text
    if command == "train":  # wrapped to the terminal, not where the docstring was
        assert "Each of their steps counts as a step" in " ".join(text.replace("│", "").split())
        assert not re.search(r"\│ +[a-z]+ +\│\n\│ +[a-z]", text)
    assert not list(Path.cwd().iterdir())


def test_help_of_a_run_gives_the_presets_defaults(capsys: Capture) -> None:
    assert seer("train", "--env", "dm_control/walker-walk-v0", "--help", "--dry-run") == 0
    text = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "agent decisions; 4 frames each on Atari). [default: 250000]" in text
    assert "--agent CHOICE Learning algorithm. [choices: rainbow, dqn, sac, curl] [default: curl]" in text
    assert seer("train", "--env", "nonsense", "--help") == 0


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(arguments: tuple[str, ...], capsys: Capture) -> None:
    assert seer(*arguments) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_help_gives_units_defaults_and_the_issues_flags(capsys: Capture) -> None:
    seer("train", "--help")
    text = " ".join(capsys.readouterr().out.split())
    for flag in (
        "--agent", "--steps", "--seed", "--freeze-at", "--replay-memory", "--replay-capacity", "--num-crops",
        "--eval-every", "--eval-episodes", "--checkpoint-every", "--encoder", "--prioritized", "--no-prioritized",
        "--device", "--out",
    ):  # fmt: skip
        assert flag in text
    assert "agent decisions" in text
    assert "[default: 500000]" in text


def table_rows(text: str) -> dict[str, list[str]]:
    """The cells of a printed table by their row's first words; wrapped lines are left out."""
    rows = [[cell.strip() for cell in line.strip("│┃ ").split("│")] for line in text.splitlines() if "│" in line]
    return {cells[0]: cells[1:] for cells in rows if len(cells) > 1}


def test_flops_prints_the_papers_costs(capsys: Capture) -> None:
    """Of Alien, which has all 18 actions, by hand as in test_flops.py."""
    assert seer("flops", "--env", "ALE/Alien-v5") == 0
    rows = table_rows(capsys.readouterr().out)
    encoder, heads = 1_280_000, 576 * 256 * 2 + 256 * 51 * 19
    assert rows["encoder forward pass (E)"][:2] == [f"{encoder:,}", f"{encoder:,}"]
    before, after = 161 * (encoder + heads), 161 * heads + 2 * encoder
    assert rows["one training step"] == [f"{before:,}", f"{after:,}", f"{after / before:.3f}"]
    assert not list(Path.cwd().iterdir())


def test_the_flops_of_a_run_are_foretold(finished_run: Path, capsys: Capture) -> None:
    """`seer flops` with a run's flags says what its ledger has in the end."""
    assert seer("flops", *FLAGS) == 0
    rows = table_rows(capsys.readouterr().out)
    flops = json.loads((finished_run / "summary.json").read_text())["flops"]
    (total,) = [cells for name, cells in rows.items() if name.startswith("1,000 steps")]
    assert total[:2] == [f"{flops['baseline']:.4g}", f"{flops['total']:.4g}"]
    assert rows["one training step"][:2] == [f"{flops['per_step_before']:,}", f"{flops['per_step_after']:,}"]


def test_memory_prints_capacities(capsys: Capture) -> None:
    assert seer("memory", *PONG, "--replay-capacity", "3000", "--steps", "6000", "--freeze-at", "4000") == 0
    rows = table_rows(capsys.readouterr().out)
    assert rows["bytes of the arena"][:2] == ["21,168,000", "21,168,000"]
    assert rows["bytes per stored step"][:2] == ["7,056", "2,304"]
    assert rows["capacity in steps"] == ["3,000", "9,187", "3.062"]
    assert seer("memory", *PONG, "--replay-memory", "70MB", "--encoder", "canonical") == 0
    text = capsys.readouterr().out
    assert table_rows(text)["capacity in steps"][:2] == [f"{70_000_000 // 7056:,}"] * 2
    assert "12,544 bytes as float32" in text
    assert seer("memory", *PONG, "--replay-memory", "70MB", "--encoder", "canonical", "--latent-dtype", "float16") == 0
    assert table_rows(capsys.readouterr().out)["bytes per stored step"][:2] == ["7,056", "6,272"]
    assert seer("memory", *PONG, "--replay-memory", "70MB", "--encoder", "canonical", "--latent-pool", "4") == 0
    assert table_rows(capsys.readouterr().out)["bytes per stored step"][:2] == ["7,056", f"{64 * 4 * 4 * 4:,}"]


@pytest.mark.parametrize(
    ("dtype", "atari", "control"),
    [("float32", 2304, 1600), ("float16", 1152, 800), ("bfloat16", 1152, 800), ("int8", 576, 400)],
)
def test_smaller_latents_take_the_bytes_they_should(dtype: str, atari: int, control: int, capsys: Capture) -> None:
    for env, row_bytes in (("ALE/Pong-v5", atari), ("dm_control/cartpole-swingup-v0", control)):
        if env.startswith("dm_control"):
            needs_drawing()
        assert seer("memory", "--env", env, "--replay-memory", "70MB", "--latent-dtype", dtype) == 0
        rows = table_rows(capsys.readouterr().out)
        assert rows["bytes per stored step"][1] == f"{row_bytes:,}"
        assert rows["capacity in steps"][1] == f"{70_000_000 // row_bytes:,}"


@pytest.mark.parametrize("x", ["steps", "flops", "seconds"])
def test_plot_draws_a_finished_run(x: str, finished_run: Path, capsys: Capture) -> None:
    assert seer("plot", finished_run, "--x", x, "--out", "curve.png") == 0
    assert "wrote curve.png" in capsys.readouterr().out
    again = ("plot", finished_run, "--x", x, "--out", "curve.png")
    assert "curve.png exists: give another place, or --overwrite" in refused(capsys, *again)
    assert seer(*again, "--overwrite") == 0
    picture = matplotlib.image.imread("curve.png")
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.01  # something is drawn


def test_playing_takes_as_many_threads_as_the_run(finished_run: Path) -> None:
    """More than there are free cores crawl."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert seer("eval", finished_run, "--episodes", 1) == 0
        assert torch.get_num_threads() == 1  # the run's
    finally:
        torch.set_num_threads(before)


def test_eval_plays_and_films(finished_run: Path, capsys: Capture) -> None:
    """A real MP4, as long as the game and in its colours; the run is left as it was."""
    before = files(finished_run)
    assert seer("eval", finished_run, "--episodes", 1, "--seed", 3, "--video", "game.mp4") == 0
    rows = table_rows(capsys.readouterr().out)
    steps = int(rows["steps"][0].replace(",", ""))
    assert -21 <= float(rows["scores"][0]) <= 21
    film = cv2.VideoCapture("game.mp4")
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(15)  # 60 a second, every fourth seen
    pictures = [picture for seen, picture in iter(film.read, (False, None)) if seen]
    film.release()
    assert {picture.shape for picture in pictures} == {(420, 320, 3)}  # 210x160, enlarged twice
    assert len(pictures) == steps + 1
    assert pictures[0].std() > 10  # the field, paddles and score, not an empty screen
    assert (pictures[0] != pictures[steps // 2]).any()
    assert files(finished_run) == before


def test_eval_repeats_itself(finished_run: Path, capsys: Capture) -> None:
    printed = []
    for _ in range(2):
        assert seer("eval", finished_run, "--episodes", 1) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_training_prints_progress_the_freeze_and_a_table(capsys: Capture) -> None:
    flags = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True)) | {
        "--steps": 330, "--freeze-at": 325, "--first-update": 320, "--eval-every": 1000, "--log-every": 330,
    }  # fmt: skip
    assert seer("train", *(word for pair in flags.items() for word in pair), "--agent", "dqn") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("encoder frozen; ") == 1
    assert "7,056 bytes" in text
    assert "2,304 bytes" in text
    for row in ("score", "FLOPs", "bytes per stored step", "replay capacity", "time"):
        assert row in text
    (folder,) = Path("runs").iterdir()  # the default: env, agent, seed, time
    assert folder.name.startswith("ALE-Pong-v5-dqn-0-")
    assert [record["step"] for record in read_metrics(folder) if record["kind"] == "freeze"] == [325]


@pytest.mark.parametrize(
    ("env", "has_bfloat16", "words"),
    [
        ("dm_control/cartpole-swingup-v0", True, "layers in bfloat16"),
        (
            "dm_control/cartpole-swingup-v0",
            False,
            "layers in float32, which would be faster with bfloat16 instructions",
        ),
        ("ALE/Pong-v5", True, "layers in float32"),
        ("ALE/Pong-v5", False, "layers in float32"),
        ("ALE/Pong-v5 --precision bfloat16", False, "layers in bfloat16, slow without bfloat16 instructions"),
    ],
)
def test_a_run_says_what_it_computes_in_and_what_it_does_without(
    env: str, has_bfloat16: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bfloat16})
    line = describe_computing(config_of(["--env", *env.split(), "--device", "cpu"]))
    assert line.startswith("Computing on cpu, ")
    assert line.endswith(words)


@pytest.mark.parametrize(("has_bfloat16", "precision"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_run_keeps_its_precision_on_another_machine(
    has_bfloat16: bool, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bfloat16})
    config = config_of(["--env", "dm_control/cartpole-swingup-v0", "--device", "cpu"])
    settled = config_from_json(config_to_json(settle_computing(config)))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": not has_bfloat16})
    assert pick_precision(settled) is precision
    assert pick_precision(config) is not precision


@pytest.mark.parametrize(("wide", "form"), [(True, "direct"), (False, "patches")])
def test_a_run_keeps_its_form_of_convolution_on_another_machine(
    wide: bool, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": wide})
    configs = [config_of([*PONG, "--device", "cpu", "--convolution", name]) for name in ("auto", form)]
    settled = [config_from_json(config_to_json(settle_computing(config))) for config in configs]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": not wide})
    assert [pick_convolution(config) for config in settled] == [form, form]
    assert pick_convolution(configs[0]) != form
