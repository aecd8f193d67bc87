"""The suites of environments, by the beginning of their ids. A new one is an entry here (docs/extending.md)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from seer.envs.presets import atari_preset, control_preset, gymnasium_preset
from seer.envs.scores import normalized_atari, normalized_control
from seer.registry import Actions, Registry, Settings

if TYPE_CHECKING:  # an entry is read wherever a setting is, and mustn't load a simulator
    from seer.envs.base import PixelEnvironment

Channels = Literal["grey", "rgb", "as shown"]


@dataclass(frozen=True)
class EnvOptions:
    """Hold the options with which a suite's environments are made, of their pictures above all.

    Attributes:
        size: height and width of a frame in pixels.
        stack: frames in an observation.
        action_repeat: simulator ticks per step.
        channels, render_pixels, cameras: for suites without a protocol of their own; see `ImageConfig`.
        vectors: for suites that have some; see `ImageConfig`.
        kwargs: keyword arguments of the environment's constructor, as `--env-kwargs` has them.
        sticky_actions, full_action_space: see `Config`.
    """

    size: int
    stack: int
    action_repeat: int
    channels: Channels = "as shown"
    render_pixels: bool = False
    cameras: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    kwargs: Sequence[str] = ()
    sticky_actions: float = 0.0
    full_action_space: bool = False

    def common(self) -> dict[str, Any]:
        """Return the options that every suite's environments take, by keyword."""
        return {"stack": self.stack, "action_repeat": self.action_repeat, "image_size": self.size}


def _nothing(*_: object) -> None:
    """Return None, for a suite without this property."""


@dataclass(frozen=True)
class EnvSpec:
    """Describe a suite of environments.

    Functions may also be given as "module:function", imported when they are needed.

    Attributes:
        name: the beginning of the suite's ids; "" takes every id that fits no other suite.
        label: its name in messages.
        example: one of its ids, for messages.
        actions: the kind that its environments take, or a function of the id, and of `--env-kwargs` if any are given,
            that returns it.
        make: (id, `EnvOptions`, training=) -> the environment; `training` is False for evaluation, where some
            protocols play whole games. Other processes call it too, so it has to be a function of a module.
        preset: (id, actions of the agent) -> the published settings.
        normalized: (id, score) -> the score on a scale on which environments can be averaged, or None.
        scale: what that scale goes by, for people.
        own_protocol: the suite prescribes the channels of its pictures and how they come about; the user doesn't.
        has_vectors: its observations have vectors beside pictures, for `--vectors`.
        channels: those it prescribes.
        options: those of env_kwargs, sticky_actions and full_action_space that its environments have.
        costs_alike: a step takes as long in all of its environments.
        known_ids: () -> ids to suggest for a mistyped one of Gymnasium.
        claims: (id of Gymnasium) -> None; or, where the id is one of this suite's under another name and would be made
            in another protocol, the end of the line that refuses it.
    """

    name: str
    label: str
    example: str
    actions: Actions | Callable[..., Actions]
    make: "Callable[..., PixelEnvironment] | str"
    preset: Callable[[str, Actions], Settings]
    normalized: Callable[[str, float], float | None] = _nothing
    scale: str = ""
    own_protocol: bool = True
    has_vectors: bool = False
    channels: Channels = "rgb"
    options: frozenset[str] = frozenset()
    costs_alike: bool = False
    known_ids: Callable[[], Sequence[str]] | str = tuple
    claims: Callable[[str], str | None] | str = _nothing

    def actions_of(self, env: str, kwargs: Sequence[str] = ()) -> Actions:
        """Return the kind of an environment's actions, for which it may have to be made, with these `--env-kwargs`.

        Raises:
            SettingError: it can't be made.
        """
        if not callable(self.actions):
            return self.actions
        return self.actions(env, *([tuple(kwargs)] if kwargs and "env_kwargs" in self.options else []))


def _make_atari(env: str, options: EnvOptions, *, training: bool) -> "PixelEnvironment":
    from seer.envs.atari import make_atari

    sticky, full = options.sticky_actions, options.full_action_space
    return make_atari(env, training=training, sticky_actions=sticky, full_action_space=full, **options.common())


def _make_control(env: str, options: EnvOptions, *, training: bool) -> "PixelEnvironment":  # noqa: ARG001
    from seer.envs.dm_control import DMControlEnvironment

    return DMControlEnvironment(env, vectors=options.vectors, **options.common())


def _GymnasiumEnvironment(env: str, options: EnvOptions, *, training: bool) -> "PixelEnvironment":  # noqa: ARG001
    from seer.envs.gymnasium import GymnasiumEnvironment

    seen = {"cameras": options.cameras, "vectors": options.vectors}
    shown = {"channels": options.channels, "render_pixels": options.render_pixels}
    return GymnasiumEnvironment(env, kwargs=options.kwargs, **options.common() | shown | seen)


def _gymnasium_actions(env: str, kwargs: Sequence[str] = ()) -> Actions:
    from seer.envs.gymnasium import is_discrete

    return "discrete" if is_discrete(env, tuple(kwargs)) else "continuous"


ENVIRONMENTS: Registry[EnvSpec] = Registry(
    "--env",
    "seer.environments",
    [
        EnvSpec(
            "ALE/", "Atari", "ALE/Alien-v5", "discrete", make=_make_atari, preset=atari_preset,
            normalized=normalized_atari, scale="0 a random agent's, 1 a human's", channels="grey", costs_alike=True,
            options=frozenset({"sticky_actions", "full_action_space"}),
            known_ids="seer.envs.atari:known_atari_games", claims="seer.envs.atari:refusal_of_other_name",
        ),
        EnvSpec(
            "dm_control/", "dm_control", "dm_control/walker-walk-v0", "continuous", make=_make_control,
            preset=control_preset, normalized=normalized_control, scale="1 the highest", has_vectors=True,
            claims="seer.envs.dm_control:refusal_of_other_name",
        ),
        EnvSpec(
            "", "Gymnasium", "CarRacing-v3", _gymnasium_actions, make=_GymnasiumEnvironment, preset=gymnasium_preset,
            own_protocol=False, has_vectors=True, options=frozenset({"env_kwargs"}),
        ),
    ],
)  # fmt: skip

register = ENVIRONMENTS.register


def suite_of(env: str) -> EnvSpec:
    """Return the suite of an environment's id: the one of the longest beginning that fits."""
    return ENVIRONMENTS[max((name for name in ENVIRONMENTS.names() if env.startswith(name)), key=len)]


def normalized(env: str, score: float) -> float | None:
    """Return the score on a scale on which environments can be averaged; None where no reference is known."""
    return suite_of(env).normalized(env, score)
