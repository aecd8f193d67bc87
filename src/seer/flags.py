"""Flags to values: how the command line reads them, what the help says of each setting, and one line for a mistake."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, wraps
from typing import Annotated, Any, get_args, get_origin

import cyclopts
from cyclopts import App, Group, Parameter, Token
from cyclopts import exceptions as wrong

from seer.agents.registry import AGENTS
from seer.config import Config, fields_with
from seer.errors import SettingError
from seer.fields import Value, value_of
from seer.registry import PLACE, Settings
from seer.settings import SOURCE, resolve, settings_of_source


def read_value(kind: Any, tokens: Sequence[Token], *, can_be_none: bool = False) -> Any:
    """Return what is given for a flag; of several times the last counts, except of lists."""
    if get_origin(kind) is tuple:
        return tuple(read_value(get_args(kind)[0], [token]) for token in tokens)
    text = tokens[-1].value
    kinds = [each for each in get_args(kind) or (kind,) if each is not type(None)]
    if can_be_none and text == "None":
        return None
    try:
        if kinds == [int]:
            return int(text)  # cyclopts would round
        if kinds == [float]:
            return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no {'whole ' * (kinds == [int])}number{_digits(text)}") from None
    return cyclopts.convert(kind, tokens[-1:])


def _digits(text: str) -> str:
    """Return how 1e5 or 100,000 is to be written."""
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return ""
    return f"; write {number:.0f}" if number.is_integer() else ""


FLAGS_OF_COMMANDS = Parameter(
    converter=read_value,
    allow_repeating=True,
    consume_multiple=(1, None),
    negative_iterable=(),
    show_default=lambda value: None if value is None or value is False or value == () else str(value),
)
"""How every command reads its flags."""


def read(app: App, words: Sequence[str]) -> tuple[Callable[..., Any], inspect.BoundArguments]:
    """Return the command that words ask for, and its arguments; SettingError where a flag or its value is wrong."""
    try:
        command, given, _ = app.parse_args(list(words), exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        program = " ".join([*app.name, *(error.command_chain or ())])
        mistake = _mistake(error)
        end = "" if mistake.endswith("?") else ";"
        raise SettingError(f"{mistake}{end} {program} --help lists the flags") from None
    return command, given


def _mistake(error: cyclopts.CycloptsError) -> str:
    """Return what is wrong with a flag."""
    match error:
        case cyclopts.CoercionError(msg=str(reason), argument=cyclopts.Argument() as argument):
            return f"{argument.name} {reason}"
        case wrong.ConsumeMultipleError(keyword=str(flag)):
            return f"{flag} names none; give one or more, or leave it out"
        case wrong.MissingArgumentError(keyword=str(flag)):
            return f"{flag} has no value"
        case wrong.MissingArgumentError(argument=cyclopts.Argument() as argument):
            return f"{argument.name} is missing"
        case wrong.UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"{word!r} is the value of no flag"
    said = str(error).rstrip(".")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in said)  # a line break would make two


def with_settings(command: Callable[..., None], agent: str, shown: Config | None = None) -> Callable[..., None]:
    """Return a command of a config as one of flags: its own, and one for each setting.

    Args:
        agent: whose own settings are flags too.
        shown: whose values the help gives as defaults; without it the settings are not explained.
    """
    own = [each for each in inspect.signature(command).parameters.values() if each.name != "config"]

    @wraps(command)
    def from_flags(**given: Any) -> None:
        others = {each.name: given.pop(each.name) for each in own if each.name in given}
        settings = _dotted(given)
        env = settings.pop("env", None)
        if not env and SOURCE not in settings:
            raise SettingError(f"--env is missing; write for example: seer {command.__name__} --env ALE/Pong-v5")
        command(resolve(str(env) if env else None, settings), **others)

    from_flags.__signature__ = inspect.Signature([*own, *_settings(agent, shown)])  # type: ignore[attr-defined]
    return from_flags


def read_settings(flags: Sequence[str]) -> dict[str, Value]:
    """Return the settings that flags of `seer train` give, each of its field's type, by dotted name."""
    app = App(name="seer train", default_parameter=FLAGS_OF_COMMANDS, help_flags=(), version_flags=())

    def settings(**_given: Any) -> None: ...

    settings.__signature__ = inspect.Signature(_settings(agent_of(flags)))  # type: ignore[attr-defined]
    app.default(settings)
    return _dotted(read(app, flags)[1].arguments)


def agent_of(words: Sequence[str]) -> str:
    """Return the agent that a command line names, on which flags depend; the default where none is known."""
    named = Config.agent
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        given = value if equals else "".join(words[place + 1 : place + 2])
        if flag == "--agent" and (given in AGENTS.names() or PLACE.fullmatch(given)):
            return given
        if flag == "--from":
            with suppress(SettingError):
                named = settings_of_source(given).agent
    return named


DECISIVE = ("env", "env_kwargs", "agent")
"""Settings on which the defaults of others depend."""


def default_config(settings: Settings) -> Config:
    """Return the config whose values the help gives: the paper's, for an environment and an agent that are known."""
    try:
        return resolve(str(settings["env"]), {name: settings[name] for name in DECISIVE if name in settings})
    except (KeyError, SettingError):
        return Config(env="")


def _dotted(given: dict[str, Any]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in given.items()}


def _settings(agent: str, shown: Config | None = None) -> list[inspect.Parameter]:
    """Return the settings as parameters of a function: {"freeze.at": ...} is freeze__at=..."""
    parameters, groups, explained = [], {}, {}
    unset = Config(env="", agent=agent, own=AGENTS[agent].own_settings())
    for field in fields_with((shown or unset).own):
        if field.group not in groups:
            explained[field.group] = _explanations(field.group) if shown else {}
            groups[field.group] = Group.create_ordered((field.group.__doc__ or "").rstrip("."))
        can_be_none = type(None) in get_args(field.kind)
        about = Parameter(
            name=[f"--{each}" for each in (field.flag, field.alias) if each is not None],
            help=explained[field.group].get(field.name.rpartition(".")[2]),
            group=groups[field.group],
            metavar=field.shown_value,
            converter=partial(read_value, can_be_none=can_be_none),
            show_default=lambda value: None if value in (None, ()) else str(value),
        )
        default = value_of(shown or unset, field.name)
        parameters.append(
            inspect.Parameter(
                field.name.replace(".", "__"),
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default == "" and shown else default,
                annotation=Annotated[field.kind, about],
            )
        )
    return parameters


def _explanations(group: type) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, each as one line, which the help wraps."""
    from docstring_parser import parse_from_object

    return {part.arg_name: " ".join((part.description or "").split()) for part in parse_from_object(group).params}
