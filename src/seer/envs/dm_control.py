"""DeepMind Control tasks (Tassa et al. 2018) seen through their first camera, in the protocol of CURL and SEER.

One step plays `action_repeat` control steps with one action, adds up their rewards and draws only the last. DM
Control's time limit truncates an episode; only a task's own end (discount 0), which lqr alone has, terminates it.

Ids are those that shimmy registers with Gymnasium. shimmy itself isn't used: it shows states rather than pixels, and
an exact state needs dm_control's own objects anyway.
"""

import functools
import math
import re
from collections.abc import Sequence
from concurrent.futures import Future
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np

from seer.core.packing import Packing
from seer.envs.actions import ActionTranslation
from seer.envs.base import Drawing, Info, PixelEnvironment, Pixels, State
from seer.envs.ids import did_you_mean
from seer.envs.rendering import Renderer, choose_backend, shared_renderer
from seer.envs.sensors import NONE, chosen
from seer.errors import SettingError

VIDEO_SIZE = 256
"""Height and width of `render()`, pixels."""

TIME_LIMITS = {"lqr": 30.0}
"""Limits in seconds of the domains that have none: 1000 control steps, as everywhere else in DM Control."""


class DMControlEnvironment(PixelEnvironment):
    """Play one DM Control task.

    Actions in [-1, 1] are scaled to the bounds of each actuator; one without bounds (lqr) takes them as they are.

    A saved state goes on bit for bit on the same machine with the same versions; elsewhere OpenGL may draw a pixel
    differently.

    Args:
        env_id: such as "dm_control/cartpole-swingup-v0"; one of `known_dm_control_tasks()`.
        stack, action_repeat, image_size: see `EnvOptions`, where the last is `size`.
        vectors: names of the task's own observations to be seen beside the picture, such as position and velocity;
            "all" are all of them, none or "none" none.
        shadows: draw shadows, as the paper's pictures do. On a CPU they take four fifths of the time for drawing.
    """

    preparation = "RGB, drawn in the frame's size from the task's first camera"
    has_time_limit = True

    def __init__(
        self, env_id: str, *, action_repeat: int, stack: int = 3, image_size: int = 100,
        vectors: Sequence[str] = (), shadows: bool = True,
    ) -> None:  # fmt: skip
        if env_id not in (known := known_dm_control_tasks()):
            likely = did_you_mean(env_id, known, otherwise="ids look like 'dm_control/cartpole-swingup-v0'")
            raise SettingError(f"--env {env_id!r} is not a known DeepMind Control task{likely}")
        self._env_id = env_id
        self._control = _load(env_id)
        self._control.task.random.seed()  # _load's is always the same
        spec = self._control.action_spec()
        bounded = np.abs([spec.minimum, spec.maximum]).max(axis=0) < 1e9  # MuJoCo writes 1e10 for "no bound"
        low, high = np.where(bounded, spec.minimum, -1.0), np.where(bounded, spec.maximum, 1.0)
        translation = ActionTranslation(gymnasium.spaces.Box(low, high, spec.shape, np.float64))
        actions: dict[str, Any] = {"action_space": translation.agent_space, "translation": translation}
        shape = (3, image_size, image_size)
        observed = {name: math.prod(each.shape) for name, each in self._control.observation_spec().items()}
        sizes = chosen(observed, vectors or [NONE], env_id)
        self.packing = Packing({"camera": shape}, sizes) if sizes else None
        shown = self.packing.frame_shape if self.packing else shape
        super().__init__(shown, stack=stack, action_repeat=action_repeat, **actions)
        seconds = self._control.control_timestep() * action_repeat
        self.metadata = self.metadata | {"render_fps": max(1, round(1 / seconds))}
        self._image_size = image_size
        self._shadows = shadows

    def introduction(self) -> list[str]:
        """Return a line about the backend that draws and, with vectors, one about what the agent sees."""
        if self.packing is None:
            return [str(choose_backend())]
        named = ", ".join(f"{name!r} ({size})" for name, size in self.packing.vectors.items())
        return [str(choose_backend()), f"Sees the first camera, with {named} beside the latents"]

    def render(self) -> Pixels:
        """Return the present picture, RGB uint8 [256, 256, 3]."""
        return self._draw(VIDEO_SIZE).result().transpose(1, 2, 0)

    def _begin(self, seed: int | None) -> tuple[Drawing, Info]:
        if seed is not None:
            self._control.task.random.seed(seed)
        self._observed = self._control.reset().observation
        return self._draw(self._image_size), {}

    def _advance(self, action: Any) -> tuple[Drawing, float, bool, bool, Info]:
        control = self._own_action(action)
        reward = 0.0
        for _ in range(self.action_repeat):
            moment = self._control.step(control)
            reward += float(moment.reward)
            if moment.last():
                break
        self._observed = moment.observation
        terminated = moment.last() and moment.discount == 0.0
        return self._draw(self._image_size), reward, terminated, moment.last() and not terminated, {}

    def _draw(self, size: int) -> Future[Pixels]:
        """Begin to draw the present picture, uint8 [C, size, size]; until it is done the simulator must not move."""
        physics = self._control.physics
        return self._renderer.draw(physics.model.ptr, physics.data.ptr, size=size, shadows=self._shadows)

    def _complete(self, drawn: Pixels) -> Pixels:
        """Return the picture, packed with the vectors of its moment if there are any."""
        return drawn if self.packing is None else self.packing.pack({**self._observed, "camera": drawn})

    @functools.cached_property
    def _renderer(self) -> Renderer:
        largest = max(self._image_size, VIDEO_SIZE)
        return shared_renderer(self._env_id, self._control.physics.model.ptr, max_size=largest)

    def _simulator_state(self) -> State:
        task = self._control.task
        return {
            "model": self._changed_model_fields(),
            "physics": self._control.physics.get_state(_integration_state()),
            "task": {name: value for name, value in vars(task).items() if isinstance(value, int | float | np.ndarray)},
            "rng": task.random.get_state(legacy=False),
            "control_steps": self._control._step_count,
        }

    def _load_simulator_state(self, state: State) -> None:
        import mujoco

        physics, task = self._control.physics, self._control.task
        self._set_model_fields(state["model"])
        physics.set_state(state["physics"], _integration_state())
        mujoco.mj_step1(physics.model.ptr, physics.data.ptr)  # what follows from the state, as a step leaves it
        _refuse_others(state["task"], {name: getattr(task, name, None) for name in state["task"]})
        vars(task).update(state["task"])
        task.random.set_state(state["rng"])
        self._control._step_count = int(state["control_steps"])
        self._control._reset_next_step = False  # else its step() would reset by itself

    def _changed_model_fields(self) -> dict[str, Pixels]:
        """Return the arrays of the model that the task has written to: targets' places, dampings, terrain."""
        fresh, fields = _model_fields(_load(self._env_id)), _model_fields(self._control)
        return {name: field.copy() for name, field in fields.items() if field.tobytes() != fresh[name].tobytes()}

    def _set_model_fields(self, changed: dict[str, Pixels]) -> None:
        fresh = _model_fields(_load(self._env_id))
        _refuse_others(changed, fresh)
        for name, field in _model_fields(self._control).items():
            field[...] = changed.get(name, fresh[name])

    def _origin(self) -> str:
        return f"{self._env_id} on dm_control {version('dm_control')} and mujoco {version('mujoco')}"


def known_dm_control_tasks() -> list[str]:
    """Return the ids of all tasks, sorted, such as "dm_control/cartpole-swingup-v0".

    Raises:
        SettingError: dm_control isn't installed, or nothing renders here.
    """
    choose_backend()
    from dm_control import suite

    return sorted(f"dm_control/{domain}-{task}-v0" for domain, task in suite.ALL_TASKS)


def refusal_of_other_name(env_id: str) -> str | None:
    """Return why Gymnasium mustn't make a task: it would show no pictures. None for anything else."""
    module, _, name = env_id.rpartition(":")
    if not (name.startswith("dm_control/") or module in ("dm_control", "shimmy")):
        return None
    task = re.sub(r"(-v\d+)?$", "", name.removeprefix("dm_control/"), count=1)
    return f"would be a task of DeepMind Control without its pictures; did you mean 'dm_control/{task}-v0'?"


def _load(env_id: str) -> Any:
    """Load a task as DM Control makes it (dm_control.rl.control.Environment), the same whenever it is called."""
    from absl import logging
    from dm_control import suite

    domain, task = env_id.removeprefix("dm_control/").removesuffix("-v0").split("-")
    arguments: dict[str, Any] = {"random": 0}  # lqr draws its springs from it; episodes are seeded by reset()
    if domain in TIME_LIMITS:
        arguments["time_limit"] = TIME_LIMITS[domain]
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # MuJoCo warns of spellings in DM Control's own models
    try:
        control = suite.load(domain, task, task_kwargs=arguments)
    finally:
        logging.set_verbosity(verbosity)
    # For its terrain quadruped-escape would open an OpenGL context of dm_control's, in the way of Renderer's.
    control.physics._make_rendering_contexts = lambda: None
    return control


def _model_fields(control: Any) -> dict[str, Pixels]:
    """Return every array of numbers in a task's model, as views. No task changes its indices, which MuJoCo trusts."""
    model = control.physics.model.ptr
    fields = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: field for name, field in fields.items() if isinstance(field, np.ndarray) and field.dtype.kind == "f"}


def _refuse_others(state: State, known: State) -> None:
    """Refuse a state whose values don't fit those they would replace."""
    for name, value in state.items():
        there: Any = known[name]
        alike = type(value) is type(there) and np.shape(value) == np.shape(there)
        if not alike and there is not None:  # None: not set before an episode begins
            raise ValueError(f"the saved state has a {name} that doesn't fit")


def _integration_state() -> int:
    """Return MuJoCo's flag of the state that the next step depends on, the solver's warm start included."""
    import mujoco

    return int(mujoco.mjtState.mjSTATE_INTEGRATION)
