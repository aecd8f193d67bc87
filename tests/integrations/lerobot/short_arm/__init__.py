"""A plug-in of LeRobot's: gym_hil's arm with small pictures and episodes of four steps, since drawing is slow here."""

import gymnasium
from gym_hil import GymRenderingSpec

SIDE, STEPS = 64, 4

gymnasium.register(
    id="gym_hil/ShortPickCube-v0",
    entry_point="gym_hil.wrappers.factory:make_env",
    max_episode_steps=STEPS,
    kwargs={
        "env_id": "gym_hil/PandaPickCubeBase-v0",
        "reset_delay_seconds": 0.0,
        "render_spec": GymRenderingSpec(SIDE, SIDE),
    },
)
