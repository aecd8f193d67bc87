"""A plug-in of LeRobot's: gym_hil's arm with small pictures and episodes of four steps, since drawing is slow here.

A person takes over in every episode, for its second and third step, by `HELP`.
"""

from typing import Any

import gymnasium
import numpy as np
from gym_hil import GymRenderingSpec
from gym_hil.wrappers.factory import make_env

SIDE, STEPS = 64, 4
HELPED = (1, 2)  # steps of an episode
HELP = np.array([0.5, -0.25, 0.125, 2.0], dtype=np.float32)


class Helped(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The arm with a person, who is reported as gym_hil's own wrapper of a gamepad does."""

    step_in_episode = 0

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        self.step_in_episode = 0
        return super().reset(**arguments)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        is_helped = self.step_in_episode in HELPED
        self.step_in_episode += 1
        action = HELP if is_helped else action
        *rest, info = super().step(action)
        return *rest, info | {"is_intervention": is_helped, "teleop_action": action}  # type: ignore[return-value]


def make_helped(**arguments: Any) -> Helped:
    return Helped(make_env(**arguments))


gymnasium.register(
    id="gym_hil/ShortPickCube-v0",
    entry_point=make_helped,
    max_episode_steps=STEPS,
    kwargs={
        "env_id": "gym_hil/PandaPickCubeBase-v0",
        "reset_delay_seconds": 0.0,
        "render_spec": GymRenderingSpec(SIDE, SIDE),
    },
)
