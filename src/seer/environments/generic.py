"""Any environment that Gymnasium can make, seen through its image observations or its rendered pictures.

Ids are those of `gymnasium.make`: `module:Id-v0` imports the module that registers the environment first. Pictures are
squeezed to a square by area, as `AtariPreprocessing` does. Rewards stay as they are.
"""

import importlib.util
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import cv2
import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seer.environments.atari import known_atari_games
from seer.environments.hints import did_you_mean
from seer.environments.pixel import Info, PixelEnvironment, Pixels, State
from seer.errors import RunError, SettingError, shortened

Channels = Literal["grey", "rgb", "as shown"]

UNBOUNDED = 1e9
"""Bounds of actions beyond this mean that there is none."""

SMALL_PICTURE = 16
"""Pixels a side; a smaller uint8 observation may well be a grid of codes."""


class GymnasiumEnvironment(PixelEnvironment):
    """One environment of Gymnasium. Made by `make_gymnasium`.

    Actions in [-1, 1] are scaled to the bounds of each, those of a Discrete space count from 0. Each episode is started
    from a seed of its own. A saved state is that seed, the actions since and a checksum of what they led to: they are
    played again, and where they lead elsewhere `is_lost` is True.

    Attributes:
        account: one line about what the agent sees and does.
    """

    def __init__(
        self,
        env_id: str,
        *,
        stack: int,
        action_repeat: int,
        image_size: int,
        channels: Channels,
        render_pixels: bool,
        image_key: str | None,
    ) -> None:
        self._env_id = env_id
        self._env = _make(env_id, render_mode="rgb_array" if render_pixels else None)
        self.spec = self._env.spec
        action_space, self._translate = _translated(self._env.action_space, env_id)
        self._show, (height, width, shown), what = _view(self._env, env_id, rendered=render_pixels, key=image_key)
        if channels == "rgb" and shown == 1:
            raise SettingError(f"--image-channels rgb: the pictures of {env_id} are grey; leave it out")
        count = 1 if channels == "grey" else shown
        super().__init__(
            (count, image_size, image_size), stack=stack, action_repeat=action_repeat, action_space=action_space
        )
        self.account = (
            f"Sees {what}, {width}x{height}, as {image_size}x{image_size} {'grey' if count == 1 else 'RGB'}; "
            f"acts in {self._env.action_space}"
        )
        if min(height, width) < SMALL_PICTURE:
            self.account += "; so small a picture may be a grid of codes: --render-pixels draws one"
        rate = self._env.metadata.get("render_fps") or 30
        self.metadata = self.metadata | {"render_fps": max(1, round(rate / action_repeat))}
        self._rng = np.random.default_rng()
        self._seed = 0  # of the episode
        self._actions: list[Any] = []  # since its start
        self._checksum = 0  # of its frames and rewards
        self._picture: Pixels = np.zeros((height, width, shown), np.uint8)  # the newest, in full size

    def render(self) -> Pixels:
        """The present picture as the environment gives it, RGB uint8 [height, width, 3]."""
        return np.broadcast_to(self._picture, (*self._picture.shape[:2], 3))

    def close(self) -> None:
        """Close the environment's window and files, if it has any."""
        self._env.close()

    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        return self._start(int(self._rng.integers(2**31)))

    def _start(self, seed: int) -> tuple[Pixels, Info]:
        self._seed, self._actions, self._checksum = seed, [], 0
        observation, info = self._env.reset(seed=seed)
        return self._frame(observation, 0.0), _without_score(info)

    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        self._actions.append(np.array(action, self.action_space.dtype))
        translated, score = self._translate(action), 0.0
        for _ in range(self.action_repeat):
            observation, reward, terminated, truncated, info = self._env.step(translated)
            score += float(reward)
            if terminated or truncated:
                break
        return self._frame(observation, score), score, bool(terminated), bool(truncated), _without_score(info)

    def _frame(self, observation: Any, reward: float) -> Pixels:
        """The newest frame, uint8 [C, H, W]."""
        self._picture = _as_picture(self._show(observation))
        frame = _scaled(self._picture, self.frame_shape)
        self._checksum = zlib.crc32(np.float64(reward).tobytes(), zlib.crc32(frame.tobytes(), self._checksum))
        return frame

    def _simulator_state(self) -> State:
        return {
            "origin": self._origin(),
            "rng": self._rng.bit_generator.state,
            "seed": self._seed,
            "actions": np.array(self._actions, self.action_space.dtype),
            "checksum": self._checksum,
        }

    def _load_simulator_state(self, state: State) -> None:
        if state["origin"] != self._origin():
            raise SettingError(
                f"the saved state is of {state['origin']}, this environment is {self._origin()}: "
                "a saved state needs the same env"
            )
        try:
            self._play_again(state["seed"], state["actions"])
        except RunError:  # what isn't the same any more may fail at actions that were fine
            self.is_lost = True
        else:
            self.is_lost = self._checksum != state["checksum"] or len(self._actions) != len(state["actions"])
        self._rng.bit_generator.state = state["rng"]

    def _play_again(self, seed: int, actions: NDArray[Any]) -> None:
        with self._watched("reset", through_c=True):
            self._start(seed)
        for action in actions:
            with self._watched("step"):
                _, _, terminated, truncated, _ = self._advance(action)
            if terminated or truncated:
                return

    def _origin(self) -> str:
        """What a saved state can't be read without."""
        return f"{self._env_id}, action repeat {self.action_repeat}, frames {list(self.frame_shape)}"


def make_gymnasium(
    env_id: str,
    *,
    stack: int = 4,
    action_repeat: int = 1,
    image_size: int = 84,
    channels: Channels = "as shown",
    render_pixels: bool = False,
    image_key: str | None = None,
) -> GymnasiumEnvironment:
    """Make any environment that Gymnasium can make.

    Args:
        env_id: such as "CarRacing-v3", or "minigrid:MiniGrid-Empty-5x5-v0", which imports `minigrid` first.
        stack: frames in an observation.
        action_repeat: steps of the environment played with each action; their rewards are added up.
        image_size: height and width of a frame, pixels.
        channels: of a frame; "as shown" is RGB unless the environment's pictures are grey.
        render_pixels: show what `render()` draws in place of the environment's observations.
        image_key: which part of Dict observations is the picture; needed where there are several.

    Raises:
        SettingError: it can't be made or drawn, it shows no picture, or its actions are neither Discrete nor bounded.
    """
    return GymnasiumEnvironment(
        env_id,
        stack=stack,
        action_repeat=action_repeat,
        image_size=image_size,
        channels=channels,
        render_pixels=render_pixels,
        image_key=image_key,
    )


@cache
def is_discrete(env_id: str) -> bool:
    """Whether an environment's actions are Discrete, which decides what can be learnt in it.

    Raises:
        SettingError: it can't be made, or its actions are neither Discrete nor bounded numbers.
    """
    env = _make(env_id)
    space, _ = _translated(env.action_space, env_id)
    env.close()
    return isinstance(space, spaces.Discrete)


def _make(env_id: str, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    games = known_atari_games()  # registers them with Gymnasium, for the hints
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame would look for a screen, which nothing here is shown on
    options: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    if _is_old_atari(env_id):
        raise SettingError(f"--env {env_id!r} is an Atari game in another protocol{_hint(env_id, games)}")
    with _one_line(f"--env {env_id!r} can't be made"):
        try:
            env = gymnasium.make(env_id, disable_env_checker=True, **options)  # PixelEnvironment watches it
        except gymnasium.error.UnregisteredEnv as error:  # its name, namespace or version
            hint = _hint(env_id, [*sorted(gymnasium.registry, key=lambda each: "/" not in each), *games])
            raise SettingError(f"--env {env_id!r} isn't registered with Gymnasium{hint}") from error
    modes = env.metadata.get("render_modes") or []
    if render_mode is not None and render_mode not in modes:
        raise SettingError(f"--render-pixels: {env_id} draws no {render_mode}, only {', '.join(modes) or 'nothing'}")
    return env


def _is_old_atari(env_id: str) -> bool:
    """Whether an id is one of those that ale-py keeps for older protocols: "Alien", "AlienNoFrameskip-v4"."""
    specs = (spec for spec in gymnasium.registry.values() if str(spec.entry_point).startswith("ale_py"))
    return any(env_id in (spec.id, spec.name) for spec in specs if spec.namespace is None)


def _hint(env_id: str, known: Iterable[str]) -> str:
    """The end of the sentence that refuses an id: the nearest of those known, or how to name the package."""
    package = re.split(r"[-/]", env_id)[0].lower()
    if re.fullmatch(r"[^:]+-v\d+", env_id) and package.isidentifier() and importlib.util.find_spec(package):
        return f"; did you mean '{package}:{env_id}', which imports {package} first?"
    shape = f"ids look like 'ALE/Alien-v5', or, of a package that has to be imported first, 'package:{env_id[:40]}'"
    module, imported, _ = env_id.rpartition(":")
    if imported:
        shape, known = (
            f"{module} registers no environment of that name and version",
            (f"{module}:{id_}" for id_ in known),
        )
    return did_you_mean(env_id, known, otherwise=shape, cutoff=0.75)


def _translated(space: spaces.Space[Any], env_id: str) -> tuple[spaces.Space[Any], Callable[[Any], Any]]:
    """The actions an agent knows, 0 to n - 1 or a vector in [-1, 1], and what turns one into the environment's."""
    match space:
        case spaces.Discrete():
            start = int(space.start)
            return spaces.Discrete(int(space.n)), lambda action: int(action) + start
        case spaces.Box() if space.dtype.kind == "f" and space.low.size:
            size, dtype = space.low.size, space.dtype
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            if max(abs(low).max(), abs(high).max()) > UNBOUNDED:
                raise SettingError(
                    f"--env {env_id}: its actions {space} have no bounds, which SAC and CURL need: "
                    "register it with gymnasium.wrappers.ClipAction or bounds of its own"
                )

            def scaled(action: NDArray[np.floating]) -> NDArray[Any]:
                moved = low + (np.asarray(action, np.float64).reshape(low.shape) + 1) / 2 * (high - low)
                return np.clip(moved, low, high).astype(dtype)

            return spaces.Box(-1.0, 1.0, (size,), np.float32), scaled
    raise SettingError(f"--env {env_id}: its actions {space} are neither Discrete nor a Box of floating-point numbers")


def _view(
    env: gymnasium.Env[Any, Any], env_id: str, *, rendered: bool, key: str | None
) -> tuple[Callable[[Any], Any], tuple[int, ...], str]:
    """What finds the picture of an observation, the picture's height, width and channels, and what it is called."""
    if rendered:
        with _one_line(f"--render-pixels: {env_id} can't be drawn"):  # before anything else is done
            env.reset(seed=0)
            return lambda _: env.render(), _as_picture(env.render()).shape, "its rendered picture"
    space = env.observation_space
    key = _key_of_picture(space, key, env_id)
    if key is None:
        return lambda observation: observation, _shape(space), "its observation"
    others = [other for other in space if other != key]  # type: ignore[attr-defined]
    what = f"its observation {key!r}" + (f" (not {', '.join(map(repr, others))})" if others else "")
    return lambda observation: observation[key], _shape(space[key]), what  # type: ignore[index]


def _key_of_picture(space: spaces.Space[Any], wanted: str | None, env_id: str) -> str | None:
    """Which part of Dict observations is the picture; None where observations are the picture."""
    if wanted is not None and not isinstance(space, spaces.Dict):
        raise SettingError(f"--image-key {wanted}: observations of {env_id} have no keys; leave it out")
    if _is_picture(space):
        return None
    pictures = [key for key, part in space.items() if _is_picture(part)] if isinstance(space, spaces.Dict) else []
    if not pictures:
        raise SettingError(
            f"--env {env_id} shows no picture (uint8, grey or RGB) but {' '.join(str(space).split())}; "
            "--render-pixels lets the agent see what it draws"
        )
    if wanted is None and len(pictures) > 1:
        raise SettingError(f"--env {env_id} shows several pictures; give one as --image-key: {', '.join(pictures)}")
    if wanted not in (None, *pictures):
        raise SettingError(f"--image-key {wanted}: the pictures of {env_id} are named {', '.join(pictures)}")
    return wanted or pictures[0]


def _is_picture(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and _with_channels_last(space.shape) is not None


def _shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    return _with_channels_last(space.shape or ()) or ()


def _with_channels_last(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(H, W, C) of what is shaped (H, W), (H, W, C) or (C, H, W), with 1 or 3 channels; None of anything else."""
    match shape:
        case (height, width) | (height, width, 1):
            return height, width, 1
        case (height, width, 3):
            return height, width, 3
        case (1 | 3 as channels, height, width):
            return height, width, channels
    return None


def _as_picture(shown: Any) -> Pixels:
    """What an environment shows, as uint8 [H, W, C]."""
    shape = _with_channels_last(shown.shape) if isinstance(shown, np.ndarray) and shown.dtype == np.uint8 else None
    if shape is None:
        found = f"{shown.dtype} {list(shown.shape)}" if isinstance(shown, np.ndarray) else type(shown).__name__
        raise RunError(f"its picture is {found}, not uint8 [H, W, 1 or 3]")
    return np.moveaxis(shown, 0, -1) if shown.ndim == 3 and shown.shape != shape else shown.reshape(shape)


def _without_score(info: Info) -> Info:
    """What wrappers say under the name that `PixelEnvironment` uses is left out."""
    return {name: value for name, value in info.items() if name != "episode"}


def _scaled(picture: Pixels, frame_shape: tuple[int, int, int]) -> Pixels:
    """A picture [H, W, C] as a frame [c, h, w]."""
    channels, height, width = frame_shape
    turns_grey = channels == 1 and picture.shape[2] == 3
    shown = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if turns_grey else picture
    frame: Any = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, channels)
    return np.ascontiguousarray(frame.transpose(2, 0, 1), np.uint8)


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Whatever a third party's code raises inside becomes one line."""
    try:
        yield
    except SettingError:
        raise
    except Exception as error:
        raise SettingError(f"{what} ({shortened(error)})") from error
