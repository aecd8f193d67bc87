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
class ImageOptions:
    """Hold the options of the pictures that a suite's environments show.

    Attributes:
        size: side of a frame in pixels.
        stack: frames in an observation.
        action_repeat: simulator ticks per step.
        channels, render_pixels, key: for suites without a protocol of their own; see `ImageConfig`.
    """

    size: int
    stack: int
    action_repeat: int
    channels: Channels = "as shown"
    render_pixels: bool = False
    key: str | None = None

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
        actions: the kind that its environments take, or a function of the id that returns it.
        make: (id, `ImageOptions`, training=) -> the environment; `training` is False for evaluation, where some
            protocols play whole games. Other processes call it too, so it has to be a function of a module.
        preset: (id, actions of the agent) -> the published settings.
        normalized: (id, score) -> the score on a scale on which environments can be averaged, or None.
        own_protocol: the suite prescribes the channels of its pictures and how they come about; the user doesn't.
        channels: those it prescribes.
        costs_alike: a step takes as long in all of its environments.
        known_ids: () -> ids to suggest for a mistyped one of Gymnasium.
        claims: (id of Gymnasium) -> None; or, where the id is one of this suite's under another name and would be made
            in another protocol, the end of the line that refuses it.
    """

    name: str
    label: str
    example: str
    actions: Actions | Callable[[str], Actions]
    make: "Callable[..., PixelEnvironment] | str"
    preset: Callable[[str, Actions], Settings]
    normalized: Callable[[str, float], float | None] = _nothing
    own_protocol: bool = True
    channels: Channels = "rgb"
    costs_alike: bool = False
    known_ids: Callable[[], Sequence[str]] | str = tuple
    claims: Callable[[str], str | None] | str = _nothing

    def actions_of(self, env: str) -> Actions:
        """Return the kind of an environment's actions, for which it may have to be made.

        Raises:
            SettingError: it can't be made.
        """
        return self.actions(env) if callable(self.actions) else self.actions


def _make_atari(env: str, image: ImageOptions, *, training: bool) -> "PixelEnvironment":
    from seer.envs.atari import make_atari

    return make_atari(env, training=training, **image.common())


def _make_control(env: str, image: ImageOptions, *, training: bool) -> "PixelEnvironment":  # noqa: ARG001
    from seer.envs.dm_control import DMControlEnvironment

    return DMControlEnvironment(env, **image.common())


def _GymnasiumEnvironment(env: str, image: ImageOptions, *, training: bool) -> "PixelEnvironment":  # noqa: ARG001
    from seer.envs.gymnasium import GymnasiumEnvironment

    shown = {"channels": image.channels, "render_pixels": image.render_pixels, "image_key": image.key}
    return GymnasiumEnvironment(env, **image.common() | shown)


def _gymnasium_actions(env: str) -> Actions:
    from seer.envs.gymnasium import is_discrete

    return "discrete" if is_discrete(env) else "continuous"


ENVIRONMENTS: Registry[EnvSpec] = Registry(
    "--env",
    "seer.environments",
    [
        EnvSpec(
            "ALE/", "Atari", "ALE/Alien-v5", "discrete", make=_make_atari, preset=atari_preset,
            normalized=normalized_atari, channels="grey", costs_alike=True,
            known_ids="seer.envs.atari:known_atari_games", claims="seer.envs.atari:refusal_of_other_name",
        ),
        EnvSpec(
            "dm_control/", "dm_control", "dm_control/walker-walk-v0", "continuous", make=_make_control,
            preset=control_preset, normalized=normalized_control, claims="seer.envs.dm_control:refusal_of_other_name",
        ),
        EnvSpec(
            "", "Gymnasium", "CarRacing-v3", _gymnasium_actions, make=_GymnasiumEnvironment, preset=gymnasium_preset,
            own_protocol=False,
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
