"""Settings that can't be: each is refused in one line, before anything is written or much memory is taken."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seer import trainer
from seer.config import Config
from seer.system_info import peak_resident_bytes
from tiny_run import forget_peak, seer

PONG = ("--env", "ALE/Pong-v5", "--steps", 2000, "--freeze-at", 1700, "--eval-episodes", 1, "--threads", 1)
WALKER = ("--env", "dm_control/walker-walk-v0", "--steps", 2000, "--freeze-at", 1700, "--eval-episodes", 1)
SPIKE = 1.5e9  # bytes: what a network of the largest sizes that are allowed takes, and far less than was asked for

WRONG: list[tuple[str, ...]] = [
    (flag, value)
    for flag, values in {
        "--steps": ("-1", "0", "nan", "1e3", "", "1000000000001", "²"),
        "--seed": ("-1", "9223372036854775808", "0.5", "x"),
        "--hidden-units": ("0", "-5", "65537", "10000000000", "inf"),
        "--batch-size": ("0", "-1", "65537", "1000000000000", "None"),
        "--image-size": ("0", "1", "3", "1025", "100000000", "-84"),
        "--frame-stack": ("0", "65", "256", "1000000000"),
        "--n-step": ("0", "10001", "1000000", "-20"),
        "--num-atoms": ("0", "1", "1000000000"),
        "--learning-rate": ("0", "-1", "nan", "inf", "1e13", "fast"),
        "--adam-epsilon": ("0", "nan", "inf", "-1e-8"),
        "--max-gradient-norm": ("0", "nan", "inf", "-1"),
        "--discount": ("-0.1", "1.01", "nan", "inf"),
        "--priority-exponent": ("-1", "2", "nan"),
        "--importance-exponent": ("-1", "2", "nan"),
        "--noisy-sigma": ("-1", "nan", "inf"),
        "--min-return": ("nan", "inf", "10", "-inf"),
        "--max-return": ("nan", "inf", "-10", "-inf"),
        "--replay-memory": ("", "0", "-1GB", "1", "1XB", "1e9", "9e99TB", "99999999999TB", "0.5B", "nanGB", "500GB"),
        "--replay-capacity": ("-1", "0", "10", "100000000000", "x", "1.5"),
        "--freeze-at": ("-1", "0", "2001", "1600", "later", "", "1e2", "٣", "nan"),
        "--freeze-layers": ("0", "-1", "5", "1000000000000", "most", ""),
        "--latent-pool": ("0", "-1", "9", "x"),
        "--freeze-similarity": ("-0.1", "1.1", "nan"),
        "--probe-size": ("0", "1", "65537", "-1"),
        "--probe-every": ("0", "-1"),
        "--eval-episodes": ("0", "-1", "100001", "1000000000000"),
        "--eval-every": ("0", "-1", "x"),
        "--checkpoint-every": ("0", "-1", "nan"),
        "--env-timeout": ("0", "-1", "nan", "inf", "1e9"),
        "--max-episode-steps": ("0", "-1", "1e3", "1000000000001"),
        "--threads": ("0", "-1", "1025", "1000000000"),
        "--device": ("gpu", "cuda:99", "", "meta:x", "tpu", "../cpu"),
        "--agent": ("", "sac", "curl", "Rainbow"),
        "--encoder": ("", "resnet"),
        "--env": (
            "",
            "ALE/",
            "../../etc/passwd",
            "ALE/Pong-v5\n",
            "dm_control/",
            "dm_control/cartpole-swingup",
            "\x00",
        ),
        "--action-repeat": ("0", "-4", "1001"),
        "--updates-per-step": ("0", "1001", "-1"),
        "--update-every": ("0", "1001", "-1"),
        "--target-every": ("0", "-1"),
        "--epsilon-end": ("-0.1", "2", "nan"),
        "--snapshot-every": ("0", "-1"),
        "--reset-heads-every": ("0", "-1"),
        "--encoder-from": ("", "/", "/dev/zero", "/etc/passwd", "nowhere", "."),
        "--out": ("/proc/run", "/dev/null", "/dev/null/run", ".", "x" * 300, "\x00"),
        "--precision": ("", "float64", "int8"),
        "--no-such-flag": ("1",),
    }.items()
    for value in values
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    monkeypatch.chdir(tmp_path)


class Accepted(Exception):
    """The command got as far as training."""


def tried(capsys: pytest.CaptureFixture[str], *arguments: object) -> str | None:
    """The one line with which `seer train` refuses its arguments, having written nothing; None if it would train."""
    before = sorted(Path.cwd().rglob("*"))

    def accept(*_arguments: Any, **_options: Any) -> Any:
        raise Accepted

    capsys.readouterr()
    with patch.object(trainer.RunFolder, "create", accept):
        try:
            code = seer("train", *arguments)
        except Accepted:
            return None
    said = capsys.readouterr()
    assert code == 2, said
    assert sorted(Path.cwd().rglob("*")) == before
    assert said.err.startswith("seer: error: ")
    (line,) = said.err.splitlines()
    return str(line)


def try_all(cases: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert tried(capsys, *PONG) is None
    forget_peak()
    peak = peak_resident_bytes()
    for flag, value in cases:
        if flag == "--out":
            continue  # those are refused when the folder is made: below
        assert tried(capsys, *PONG, f"{flag}={value}") is not None, (flag, value)
    assert peak_resident_bytes() - peak < SPIKE


def test_bad_settings_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    try_all(WRONG[::7], capsys)


@pytest.mark.parametrize("out", [value for flag, value in WRONG if flag == "--out"])
def test_places_that_cannot_be_are_refused(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert seer("train", *PONG, "--out", out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("seer: error: --out")
    assert [path.name for path in Path.cwd().iterdir()] == ["thesis.txt"]


@pytest.mark.torture
def test_a_hundred_and_fifty_bad_settings_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(WRONG) >= 150
    try_all(WRONG, capsys)


def flags() -> Iterator[tuple[str, Any]]:
    """Every setting's flag and type."""
    for part in (Config, *(f.default_factory for f in dataclasses.fields(Config) if callable(f.default_factory))):
        for field in dataclasses.fields(part):  # type: ignore[arg-type]
            kind = get_type_hints(part)[field.name]
            if not dataclasses.is_dataclass(kind) and field.name not in ("out", "device"):
                yield f"--{field.name.replace('_', '-')}", kind


NUMBERS = st.integers(-3, 70_000) | st.integers() | st.floats() | st.sampled_from([10**9, 10**15, 1e-320, -0.0])
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["None", "auto", "all", "never", "-", "--", "=", "1_000", "0x10", "\uff11"]
)
CASES = st.lists(st.tuples(st.sampled_from(sorted(flags(), key=str)), NUMBERS.map(str) | TEXTS), min_size=1, max_size=3)


def whatever_is_asked(capsys: pytest.CaptureFixture[str], env: tuple[object, ...], case: list[tuple[Any, str]]) -> None:
    given_flags = [f"{flag}={value}" for (flag, _), value in case if flag != "--env"]
    tried(capsys, *env, *given_flags)
    shutil.rmtree("runs", ignore_errors=True)


RULES: dict[str, Any] = {"suppress_health_check": list(HealthCheck), "deadline": None}


@settings(max_examples=10, **RULES)
@given(case=CASES)
def test_no_setting_ends_in_a_traceback(case: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]) -> None:
    whatever_is_asked(capsys, PONG, case)


@pytest.mark.torture
@settings(max_examples=300, **RULES)
@given(case=CASES)
def test_none_of_many_settings_ends_in_a_traceback(
    case: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    whatever_is_asked(capsys, PONG, case)


@pytest.mark.torture
@settings(max_examples=50, **RULES)
@given(case=CASES)
def test_no_setting_of_dm_control_does(case: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]) -> None:
    whatever_is_asked(capsys, WALKER, case)
