"""Show any environment that Gymnasium can make, by its image observations or its rendered pictures.

Ids are those of `gymnasium.make`: `module:Id-v0` imports the module that registers the environment first. Pictures are
squeezed to a square by area, as `AtariPreprocessing` does. Rewards stay as they are.
"""

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seer.core.packing import Packing
from seer.envs.actions import ActionTranslation
from seer.envs.backends import Backend, choose_mujoco_backend
from seer.envs.base import Info, PixelEnvironment, Pixels, State
from seer.envs.ids import atari_note, make
from seer.envs.pictures import ALL_VALUES, View, scaled
from seer.envs.randomness import SharedRandomness
from seer.envs.registry import Channels
from seer.envs.sensors import Sensors, sensors_of
from seer.errors import RunError, SettingError

UNBOUNDED = 1e9
"""Bounds of actions beyond this count as none."""

SMALL_PICTURE = 16
"""Side in pixels; a smaller uint8 observation may well be a grid of codes."""

OWN_LIMITS = ("max_steps", "max_episode_steps", "_max_episode_steps")
"""Names of the limit in environments that count their steps themselves."""


class GymnasiumEnvironment(PixelEnvironment):
    """Show one environment of Gymnasium.

    Actions in [-1, 1] are scaled to the bounds of each, those of a Discrete space count from 0. Each episode is started
    from a seed of its own. A saved state is that seed, the actions since and a checksum of their frames and rewards:
    they are played again, and where they lead elsewhere `is_lost` is True.

    Args:
        env_id: such as "CarRacing-v3", or "minigrid:MiniGrid-Empty-5x5-v0", which imports `minigrid` first.
        stack, action_repeat, image_size: see `EnvOptions`, where the last is `size`; rewards of repeated actions are
            added up.
        channels: of a frame; "as shown" is RGB unless the environment's pictures are grey.
        render_pixels: show what `render()` draws in place of the environment's observations.
        cameras, vectors: which parts of Dict observations are seen: see `sensors_of`.
        kwargs: keyword arguments of the environment, as `--env-kwargs` takes them.

    Attributes:
        account: one line about what the agent sees and does.
        backend: the backend that draws MuJoCo's pictures; None where it draws none.
    """

    preparation = (
        "the picture, from its space's bounds to 0..255; grey (cv2.COLOR_RGB2GRAY) if a frame has one channel; "
        "squeezed by area (cv2.INTER_AREA)"
    )

    def __init__(
        self, env_id: str, *, stack: int = 4, action_repeat: int = 1, image_size: int = 84,
        channels: Channels = "as shown", render_pixels: bool = False, cameras: Sequence[str] = (),
        vectors: Sequence[str] = (), kwargs: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._name = " ".join([env_id, *kwargs])
        self._env = make(env_id, render_mode="rgb_array" if render_pixels else None, kwargs=kwargs)
        self.spec = self._env.spec
        translation = _translation(self._env.action_space, env_id)
        is_mujoco = render_pixels and hasattr(self._env.unwrapped, "mujoco_renderer")
        self.backend: Backend | None = choose_mujoco_backend() if is_mujoco else None
        self._sensors = sensors_of(self._env, env_id, cameras=cameras, vectors=vectors, render_pixels=render_pixels)
        views = self._sensors.views
        shapes = {name: _frame_shape(view, view.size or image_size, channels, env_id) for name, view in views.items()}
        self.question = next((view.question for view in views.values() if view.question is not None), None)
        if len(views) > 1 or self._sensors.vectors:
            self.packing = Packing(shapes, {name: vector.size for name, vector in self._sensors.vectors.items()})
        self._shapes = shapes
        shape = next(iter(shapes.values())) if self.packing is None else self.packing.frame_shape
        self.picture_bounds = next(iter(views.values())).bounds
        self.camera_bounds = {name: view.bounds for name, view in views.items() if view.bounds != ALL_VALUES}
        options: dict[str, Any] = {"action_space": translation.agent_space, "translation": translation}
        super().__init__(shape, stack=stack, action_repeat=action_repeat, **options)
        self.account = f"{_account(self._sensors, shapes)}; acts in {self._env.action_space}"
        if any(min(view.shape[:2]) < SMALL_PICTURE for view in views.values()):
            self.account += "; so small a picture may be a grid of codes: --render-pixels draws one"
        bounds = next((view.bounds for view in views.values() if view.bounds != ALL_VALUES), ALL_VALUES)
        if bounds != ALL_VALUES:
            self.account += f"; its pixels of {bounds[0]} to {bounds[1]} are shown from black to white"
        self.account += atari_note(self._env)
        rate = self._env.metadata.get("render_fps") or 30
        self.metadata = self.metadata | {"render_fps": max(1, round(rate / action_repeat))}
        self._rng = np.random.default_rng()
        self._shared = SharedRandomness()
        self._seed = 0  # of the episode
        self._actions: list[Any] = []  # since its start
        self._checksum = 0  # of its frames and rewards
        self._pictures: list[Pixels] = [np.zeros(view.shape, np.uint8) for view in views.values()]  # in full size

    def introduction(self) -> list[str]:
        """Return a line about the backend, if MuJoCo draws, and one about what the agent sees and does."""
        return [*([str(self.backend)] if self.backend is not None else []), self.account]

    @property
    def has_time_limit(self) -> bool:
        """Tell whether something is known to cut its episodes off: `max_episode_steps` or a limit of its own."""
        names = (name for name in OWN_LIMITS if self._env.has_wrapper_attr(name))
        limits = [self.max_episode_steps, *(self._env.get_wrapper_attr(name) for name in names)]
        return any(limit not in (None, float("inf")) for limit in limits)

    def render(self) -> Pixels:
        """Return the present pictures side by side, as the environment gives them, RGB uint8 [height, width, 3]."""
        height = max(map(len, self._pictures))
        shown = [np.broadcast_to(each, (*each.shape[:2], 3)) for each in self._pictures]
        if len(shown) == 1:
            return shown[0]
        return np.concatenate([np.pad(each, ((0, height - len(each)), (0, 0), (0, 0))) for each in shown], axis=1)

    def close(self) -> None:
        """Close the environment's window and files, if it has any."""
        self._env.close()

    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        return self._start(int(self._rng.integers(2**31)))

    def _start(self, seed: int) -> tuple[Pixels, Info]:
        self._seed, self._actions, self._checksum = seed, [], 0
        with self._shared.used(seed):
            observation, info = self._env.reset(seed=seed)
            return self._frame(observation, 0.0), _without_score(info)

    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        self._actions.append(np.array(action, self.action_space.dtype))
        own, score = self._own_action(action), 0.0
        with self._shared.used():
            for _ in range(self.action_repeat):
                observation, reward, terminated, truncated, info = self._env.step(own)
                score += float(reward)
                if terminated or truncated:
                    break
            frame = self._frame(observation, score)
        return frame, score, bool(terminated), bool(truncated), _without_score(info)

    def _frame(self, observation: Any, reward: float) -> Pixels:
        """Return the newest frame, uint8 [C, H, W]."""
        views = self._sensors.views
        self._pictures = [view.picture(observation) for view in views.values()]
        shapes = zip(self._pictures, self._shapes.values(), strict=True)
        frames = [scaled(picture, shape) for picture, shape in shapes]
        frame = frames[0] if self.packing is None else self._packed(observation, frames)
        self._checksum = zlib.crc32(np.float64(reward).tobytes(), zlib.crc32(frame.tobytes(), self._checksum))
        return frame

    def _packed(self, observation: Any, frames: list[Pixels]) -> Pixels:
        """Return frames and vectors as one packed frame [1, 1, P]."""
        assert self.packing is not None
        vectors = {name: vector.find(observation) for name, vector in self._sensors.vectors.items()}
        return self.packing.pack(dict(zip(self._shapes, frames, strict=True)) | vectors)

    def _simulator_state(self) -> State:
        return {
            "rng": self._rng.bit_generator.state,
            "seed": self._seed,
            "actions": np.array(self._actions, self.action_space.dtype),
            "checksum": self._checksum,
        }

    def _load_simulator_state(self, state: State) -> None:
        try:
            self._play_again(state["seed"], state["actions"])
        except RunError:  # another game than before may fail at actions that were fine
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
        return f"{self._name}, action repeat {self.action_repeat}, frames {list(self.frame_shape)}"


@cache
def is_discrete(env_id: str, kwargs: tuple[str, ...] = ()) -> bool:
    """Tell whether an environment's actions are Discrete, on which the agents that can act there depend.

    Raises:
        SettingError: it can't be made, or its actions are neither Discrete nor bounded numbers.
    """
    env = make(env_id, kwargs=kwargs)
    translation = _translation(env.action_space, env_id)
    env.close()
    return isinstance(translation.space, spaces.Discrete)


def _translation(space: spaces.Space[Any], env_id: str) -> ActionTranslation:
    """Return the translation of an agent's action to the environment's.

    Raises:
        SettingError: no agent has such actions.
    """
    match space:
        case spaces.Discrete():
            return ActionTranslation(space)
        case spaces.Box() if space.dtype.kind == "f" and space.low.size:
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            if max(abs(low).max(), abs(high).max()) > UNBOUNDED:
                raise SettingError(
                    f"--env {env_id}: its actions {space} have no bounds, which SAC and CURL need: "
                    "register it with gymnasium.wrappers.ClipAction or bounds of its own"
                )
            return ActionTranslation(space, from_centre=False)
    raise SettingError(f"--env {env_id}: its actions {space} are neither Discrete nor a Box of floating-point numbers")


def _frame_shape(view: View, size: int, channels: Channels, env_id: str) -> tuple[int, int, int]:
    """Return (C, H, W) of the frames that a picture becomes.

    Raises:
        SettingError: it is grey, but is to be RGB.
    """
    if channels == "rgb" and view.shape[2] == 1:
        raise SettingError(f"--image-channels rgb: the pictures of {env_id} are grey; leave it out")
    return 1 if channels == "grey" else view.shape[2], size, size


def _account(sensors: Sensors, shapes: dict[str, tuple[int, int, int]]) -> str:
    """Return what is seen, as what, and what isn't."""
    cameras = []
    for name, (count, _, size) in shapes.items():
        view = sensors.views[name]
        height, width, _ = view.shape
        cameras.append(f"{view.what}, {width}x{height}, as {size}x{size} {'grey' if count == 1 else 'RGB'}")
    account = f"Sees {' and '.join(cameras)}"
    if sensors.vectors:
        named = (f"{name!r} ({vector.size})" for name, vector in sensors.vectors.items())
        account += f", with {', '.join(named)} beside the latents"
    return account + (f"; doesn't see {', '.join(sensors.left_out)}" if sensors.left_out else "")


def _without_score(info: Info) -> Info:
    """Return the info without the entry of wrappers under the name that `PixelEnvironment` uses."""
    return {name: value for name, value in info.items() if name != "episode"}
