"""Flags to settings: what the command line says, as the dataclasses that it means; a mistake becomes one line."""

import argparse
import contextlib
import dataclasses
import functools
import io
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from seer.agents.registry import AGENTS
from seer.config import Config
from seer.errors import SettingError
from seer.presets import preset
from seer.registry import Value
from seer.settings import flags_for, value_of
from seer.validation import validate

Parsed = TypeVar("Parsed")


def parse_config(command: str, arguments: Sequence[str]) -> Config:
    """The paper's settings for `--env` and `--agent`, overridden by the other flags."""
    arguments = [_with_hyphens(each) for each in arguments]
    chosen, _ = _first_parser("env", "agent", "encoder-from", "encoder-factory").parse_known_args(list(arguments))
    wants_help = bool({"-h", "--help"} & set(arguments))
    if chosen.env is None and not wants_help:
        raise SettingError(f"--env is missing; write for example: seer {command} --env ALE/Pong-v5")
    given = chosen.encoder_from is not None or chosen.encoder_factory is not None
    default = preset(chosen.env or "ALE/Pong-v5", chosen.agent, transfer=given)
    return validate(parse(Config, command, arguments, default=default))


def _first_parser(*flags: str) -> argparse.ArgumentParser:
    """Return a parser of those flags on which the others' defaults depend; a missing value is left to the second."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in flags:
        parser.add_argument(f"--{flag}", nargs="?")
    return parser


def read_settings(flags: Sequence[str]) -> dict[str, Value]:
    """Return the settings that flags of `seer train` give, each of its field's type, by dotted name.

    Raises:
        SettingError: there is no such flag, or its value is of another type.
    """
    flags = [_with_hyphens(each) for each in flags]
    given = {flag.partition("=")[0] for flag in flags}
    chosen, _ = _first_parser("agent").parse_known_args(flags)
    spec = AGENTS[chosen.agent or Config.agent]
    made = parse(Config, "train", flags, default=Config(env="", agent=spec.name, own=spec.own_settings()))
    return {
        name: value_of(made, name) for name, flag in flags_for(made).items() if {f"--{flag}", f"--no-{flag}"} & given
    }


def _with_hyphens(argument: str) -> str:
    """A flag as the settings' names are looked up: `--encoder_from=a_b` is `--encoder-from=a_b`, as for tyro."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def parse(settings: type[Parsed], command: str, arguments: Sequence[str], *, default: Parsed | None = None) -> Parsed:
    """Flags to a dataclass; what the parser says about a bad flag becomes one line."""
    if {"-h", "--help"} & set(arguments):
        _explain(settings)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            read: Callable[..., Parsed] = functools.partial(
                tyro.cli, settings, prog=f"seer {command}", args=list(arguments), config=(tyro.conf.OmitArgPrefixes,)
            )
            made = read() if default is None else read(default=default)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise SettingError(f"{_one_line(complaint.getvalue())}; seer {command} --help lists the flags") from None
    _refuse_flags_without_values(made, arguments)
    return made


def _explain(settings: Any) -> None:
    """Give tyro each field's docstring as one line, which it wraps; it would keep the breaks of indented ones."""
    from docstring_parser import parse_from_object

    docs = {part.arg_name: part.description or "" for part in parse_from_object(settings).params}
    for name, kind in get_type_hints(settings, include_extras=True).items():
        text = " ".join(docs.get(name, "").split())
        if dataclasses.is_dataclass(kind):
            _explain(kind)
        elif text:
            settings.__annotations__[name] = Annotated[kind, tyro.conf.arg(help=text)]


def _refuse_flags_without_values(made: Any, arguments: Sequence[str]) -> None:
    """A list that is given without a value would otherwise count as not given."""
    given = {argument.replace("_", "-") for argument in arguments}
    for part in dataclasses.fields(made):
        flag = f"--{part.name.replace('_', '-')}"
        if flag in given and getattr(made, part.name) == ():
            raise SettingError(f"{flag} names none; give one or more, or leave it out")


def _one_line(box: str) -> str:
    """What stands in the parser's framed message, without its title and its advice."""
    words = " ".join(line.strip("│┃ ") for line in box.splitlines() if not line.startswith(("╭", "╰", "│ ─")))
    for advice in ("Argument helptext:", "For full helptext"):
        words = words.partition(advice)[0]
    complaint, _, flags = words.partition("Perhaps you meant:")
    if wrong := re.search(r"parsing (--\S+): invalid literal for int\(\) with base 10: '(.*)'", complaint):
        return f"{wrong[1]} {wrong[2]!r} is no whole number{_digits(wrong[2])}"
    if wrong := re.search(r"parsing (--\S+): could not convert string to float: '(.*)'", complaint):
        return f"{wrong[1]} {wrong[2]!r} is no number"
    return complaint.strip() + (f"; did you mean {flags.split()[0]}?" if flags else "")


def _digits(text: str) -> str:
    """How 1e5 or 100,000 is to be written."""
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return ""
    return f"; write {number:.0f}" if number.is_integer() else ""
