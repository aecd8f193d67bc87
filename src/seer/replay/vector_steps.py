"""The steps of Gymnasium's vector environments, put into a replay.

Axes: E environments, S stack, C channels, H height, W width.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seer.core.encoder import FreezableEncoder
from seer.errors import SettingError
from seer.replay.buffer import Replay
from seer.replay.multi_env import MultiEnvReplay


class VectorSteps:
    """Stores the steps of a `gymnasium.vector.VectorEnv`: those of environment i in the i-th replay.

    Where an episode has ended, Gymnasium's environments start the next by themselves (`AutoresetMode`): with the next
    step, which plays no action and isn't stored, or with the same one, whose last observation is in `infos`.

    Args:
        envs: already reset; its `metadata` names the mode. Don't reset it again.
        replay: of one replay for each environment.
        encoder: makes the rows.
        view: an observation of one environment to `[S, C, H, W]` uint8, such as `lambda stack: stack[:, None]`.

    Attributes:
        starting: `[E]` bool: the environments that play no action at the next step.

    Raises:
        SettingError: the mode is unknown, or there are more or fewer replays than environments.
    """

    def __init__(
        self,
        envs: gymnasium.vector.VectorEnv[Any, Any, Any],
        replay: Replay | MultiEnvReplay,
        encoder: FreezableEncoder,
        view: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = np.asarray,
    ) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode not in set(gymnasium.vector.AutoresetMode):
            raise SettingError(f"autoreset_mode is {mode!r}: set envs.metadata['autoreset_mode'] to an AutoresetMode")
        if len(replay.replays) != envs.num_envs:
            raise SettingError(
                f"replay is of {len(replay.replays)} environments, envs of {envs.num_envs}: "
                "give a MultiEnvReplay of one replay each"
            )
        self.starting = np.zeros(envs.num_envs, bool)
        self._mode = gymnasium.vector.AutoresetMode(mode)
        self._replay, self._encoder, self._view = replay, encoder, view

    def append(  # noqa: PLR0917  # in the order of a loop
        self,
        observations: NDArray[np.uint8],
        actions: NDArray[Any],
        rewards: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        following: NDArray[np.uint8],
        infos: dict[str, Any],
    ) -> None:
        """Store what the environments played: `following` is the observations that `step` returned.

        Raises:
            SettingError: an episode was cut, but its last observation isn't in `infos`, where the mode puts it; or the
                step has overwritten `observations`.
        """
        if np.may_share_memory(observations, following):
            raise SettingError(
                "step() wrote its observations over those before: make envs with copy=True, or keep a copy of these"
            )
        for env in np.flatnonzero(~self.starting):
            cut = bool(truncated[env] and not terminated[env])
            self._replay.replays[env].append(
                self._encoder.row(self._view(observations[env])),
                actions[env],
                float(rewards[env]),
                terminated=bool(terminated[env]),
                truncated=cut,
                final_row=self._encoder.row(self._view(self._last(env, following, infos))) if cut else None,
            )
        if self._mode is gymnasium.vector.AutoresetMode.NEXT_STEP:
            self.starting = np.logical_or(terminated, truncated) & ~self.starting

    def _last(self, env: np.intp, following: NDArray[np.uint8], infos: dict[str, Any]) -> NDArray[np.uint8]:
        """Return the observation after the last step of an episode."""
        if self._mode is not gymnasium.vector.AutoresetMode.SAME_STEP:
            return np.asarray(following[env])
        if "final_obs" not in infos:
            raise SettingError("infos have no final_obs, though autoreset_mode is SAME_STEP: pass on those of step()")
        return np.asarray(infos["final_obs"][env])
