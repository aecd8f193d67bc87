"""Flags: what they are read as, and the line for each kind of mistake."""

import pytest

from refusing import PONG, Capture, refused
from seer import cli
from seer.flags import read_settings

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_only_what_is_given_is_a_setting() -> None:
    words = ["--steps", "9", "--freeze_at=never", "--no-double", "--noisy", "--threads", "None", "--out=a_b"]
    assert read_settings(words) == {
        "steps": 9, "freeze.at": "never", "value.double": False, "value.noisy": True, "threads": None, "out": "a_b",
    }  # fmt: skip
    assert read_settings([]) == {}


def test_of_several_the_last_counts() -> None:
    assert read_settings(["--steps", "9", "--seed", "1", "--steps", "10"]) == {"steps": 10, "seed": 1}
    assert read_settings(["--double", "--no-double"]) == {"value.double": False}


@pytest.mark.parametrize("number", ["-3", "-1e3", "-.5", "-inf"])
def test_negative_numbers_are_values(number: str) -> None:
    assert read_settings(["--min-return", number]) == {"value.min_return": float(number)}


def test_lists_take_one_value_or_more() -> None:
    asked = cli.command(["sweep", "grid.toml", "--seeds", "1", "2", "--envs", "a", "--envs", "b", "--", "--steps", "5"])
    assert (asked.keywords["seeds"], asked.keywords["envs"]) == ((1, 2), ("a", "b"))
    assert asked.keywords["common"] == ("--steps", "5")
    assert cli.command(["sweep", "--dry-run", "--jobs", "3"]).keywords["options"].jobs == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", *PONG, "--stepz", 1), "Unknown option: --stepz. Did you mean --steps? seer train --help"),
        (("train", *PONG, "--steps"), "--steps has no value; seer train --help"),
        (("train", *PONG, "--steps", "--seed", 1), "--steps has no value; seer train --help"),
        (("train", *PONG, "--steps", "1e3"), "--steps '1e3' is no whole number; write 1000; seer train --help"),
        (("train", *PONG, "--steps", "1.5"), "--steps '1.5' is no whole number; seer train --help"),
        (("train", *PONG, "--threads", "0x2"), "--threads '0x2' is no whole number; seer train --help"),
        (("train", *PONG, "--discount="), "--discount '' is no number; seer train --help"),
        (("train", *PONG, "--render-pixels=\x1e"), r'Invalid value for --render-pixels: unable to convert "\x1e"'),
        (("train", *PONG, "surplus"), "'surplus' is the value of no flag; seer train --help"),
        (
            ("train", *PONG, "--agent", "dqm"),
            "--agent 'dqm' is unknown; did you mean dqn? use one of rainbow, dqn, sac, curl",
        ),
        (("train",), "--env is missing; write for example: seer train --env ALE/Pong-v5"),
        (("eval",), "FOLDER is missing; seer eval --help"),
        (("resume", "run", "--threads", "x"), "--threads 'x' is no whole number; seer resume --help"),
        (("sweep", "--seeds", 1, "x"), "--seeds 'x' is no whole number; seer sweep --help"),
        (("sweep", "--seeds"), "--seeds names none; give one or more, or leave it out; seer sweep --help"),
        (("sweep", "--envs", "a", "--out", "s", "--", "--stepz", 1), "Unknown option: --stepz. Did you mean --steps?"),
        (("analyze", "svcca", "run", "--gap", "x"), "--gap 'x' is no whole number; seer analyze svcca --help"),
        (("analyze", "dreams"), "seer analyze 'dreams' is unknown; write seer analyze attention RUN or"),
        (("analyze",), "it is not said what to analyze; write seer analyze attention RUN or"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_mistake_is_one_line(words: tuple[object, ...], said: str, capsys: Capture) -> None:
    assert refused(capsys, *words).startswith(f"seer: error: {said}")
