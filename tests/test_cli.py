"""The command line: every mistake in a flag is one line and changes nothing; what the help says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from refusing import PONG, Capture, refused
from seer import __version__
from tiny_run import seer

pytestmark = pytest.mark.usefixtures("empty_folder")

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
    "export",
    "analyze",
)


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
        (
            [*PONG, "--steps", "1000"],
            [
                "--freeze-at 50000",
                "--steps 1000",
                "first update comes at 1600: give more --steps or a lower --first-update",
            ],
        ),
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


def test_a_command_that_is_nearly_one(capsys: Capture) -> None:
    assert "unknown command 'tran'; did you mean train? use one of train, resume" in refused(capsys, "tran")
    assert seer("--version") == 0
    assert capsys.readouterr().out == f"seer {__version__}\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--freeze-at", "1900", "--replay-memory", "70"), "holds 0 frames"),
        (("--freeze-at", "never", "--planned-steps", "30"), "--planned-steps 30 holds 30 frames, less than batch"),
        (("--freeze-at", "1900", "--replay-memory", "10TB"), "more than the"),
        (("--freeze-at", "1900", "--replay-memory", "10TB", "--replay-on", "."), "GB of memory, more than the"),
        (("--freeze-at", "1900", "--replay-on", "missing"), "--replay-on missing is no folder: make it first"),
        (("--freeze-at", "1900", "--replay-on", ""), "--replay-on names no folder"),
        (("--freeze-at", "1900", "--out", "taken"), "--out taken has something in it already"),
        (("--freeze-at", "1900", "--out", "/dev/null/run"), "--out /dev/null/run can't be written"),
        (("--encoder-from", "nowhere"), "nowhere is no run"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(flags: tuple[str, ...], said: str, capsys: Capture) -> None:
    Path("taken").mkdir()
    Path("taken/thesis.tex").write_text("chapter 1")
    train = ("train", *PONG, "--steps", "2000", "--eval-episodes", "1", *flags)
    lines = [refused(capsys, *train, *dry).partition(" that are free")[0] for dry in ((), ("--dry-run",))]
    assert said in lines[0]
    assert lines[0][:90] == lines[1][:90]  # then comes what is free at the moment


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, flag: str, capsys: Capture) -> None:
    assert seer(command, flag) == 0
    text = capsys.readouterr().out
    assert f"Usage: seer {command}" in text
    named = {
        "resume": "FOLDER", "eval": "--video", "plot": "--x", "reproduce": "--scale", "report": "--out",
        "export": "--onnx", "analyze": "svcca RUN",
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
    assert "{rainbow,dqn,sac,curl,drqv AgentSpec of your own. [default: curl]" in text  # two columns, cut by lines
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


LOADS_UNDER_FIRE = """
import os, runpy, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "seer.registry":  # among the first that the commands load
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background begins without it
sys.meta_path.insert(0, Interrupting())
runpy.run_module("seer", run_name="__main__")
"""


def test_ctrl_c_while_it_loads_leaves_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS_UNDER_FIRE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "seer: stopped\n")
