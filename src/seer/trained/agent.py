"""A trained agent for a loop of one's own: it acts and encodes, and learns nothing.

Axes: B batch, S stack, C channels, H, W, N latents per observation, L latent size, A actions.
"""

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from seer.agents.agent import Agent
from seer.config import Config
from seer.core.phase import Phase
from seer.envs.actions import OwnSpace
from seer.envs.base import Pixels
from seer.errors import SettingError
from seer.trained.interface import Interface
from seer.trained.play_environment import PlayEnvironment


class TrainedAgent:
    """Act and encode as a run's agent does; `seer.load` makes one.

    Observations are those of the run's environment: the last S frames, oldest first, uint8. `make_env` gives an
    environment that shows them; `observe` makes them of pictures.

    Attributes:
        config: settings of the run.
        step: training steps behind the weights.
        phase: whether its encoder was frozen by then, and what the replay held.
        observation_shape: (S, C, H, W) of an observation.
        action_space: the environment's own actions, which `act` gives.
        prepare: from pictures to a frame, see `Preparation`.
        interface: its observations and actions, known without the environment.
        source: the folder that it was read from.
    """

    def __init__(
        self,
        agent: Agent[Any],
        config: Config,
        *,
        interface: Interface,
        step: int,
        phase: Phase,
        source: str,
    ) -> None:
        self._agent, self.config, self.step, self.phase, self.source = agent, config, step, phase, source
        self.interface, self.prepare, self._translation = interface, interface.prepare, interface.translation
        self.observation_shape = (interface.stack, *interface.frame_shape)
        self._frames: Pixels | None = None  # the last S, of an episode that `observe` sees
        self.seed(0)

    @property
    def action_space(self) -> OwnSpace:
        """Return the environment's own actions, which `act` gives."""
        return self._translation.space

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Return (N, L) of what `encode` gives of an observation."""
        return self._agent.online.encoder.latent_shape

    @property
    def device(self) -> torch.device:
        """Return where it computes."""
        return self._agent.device

    def __repr__(self) -> str:
        """Return a line that tells it from others."""
        return f"TrainedAgent({self.config.agent} on {self.config.env}, step {self.step:,}, from {self.source})"

    # Acting ----------------------------------------------------------------------------------------------------

    def act(self, observation: ArrayLike, *, deterministic: bool = True) -> Any:
        """Return the action for an observation [S, C, H, W] uint8, or actions for several [B, S, C, H, W].

        It is one of `action_space`: an int, or an array; for several, an array with B of them.

        Args:
            observation: a NumPy array, or a tensor on any device.
            deterministic: the best action, or the policy's mean. Otherwise it explores as in training at this step:
                noisy layers or epsilon (Rainbow, DQN), a sample of the policy (SAC, CURL), noise (DrQ-v2).

        Raises:
            SettingError: the observation has another shape or dtype.
        """
        observations, is_single = self._several(observation)
        agent = self._agent
        chosen = agent.act(observations) if deterministic else [agent.explore(each)[0] for each in observations]
        actions = [self._translation(each) for each in chosen]
        return actions[0] if is_single else np.stack(actions)

    @torch.no_grad()
    def encode(self, observation: ArrayLike) -> NDArray[np.float32]:
        """Return the latents [N, L] float32 of an observation, or [B, N, L] of several, as a NumPy array.

        They are outputs of the frozen part for the one view that acting sees, the centre crop with SAC and CURL; before
        the freeze, outputs of the layers that it would freeze.

        Raises:
            SettingError: the observation has another shape or dtype.
        """
        observations, is_single = self._several(observation)
        encoder = self._agent.online.encoder
        frames = self._agent.view(torch.from_numpy(observations).to(self.device))
        latents: NDArray[np.float32] = encoder.encode(encoder.inputs(frames)).cpu().numpy()
        return latents[0] if is_single else latents

    def seed(self, seed: int) -> None:
        """Seed the exploration of `act`; `seer.load` gives 0."""
        for number, generator in enumerate(self._agent.generators().values()):
            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            if isinstance(generator, torch.Generator):
                generator.manual_seed(own)
            else:
                generator.bit_generator.state = type(generator.bit_generator)(own).state

    # Pictures and environments ---------------------------------------------------------------------------------

    def observe(self, *pictures: Any) -> Pixels:
        """Return the observation [S, C, H, W] uint8 whose newest frame shows these pictures.

        The first after `reset` fills the stack. One call is one step: pictures in the rhythm of the run's decisions.

        Args:
            pictures: one, uint8 grey or RGB; of an Atari game the console's last two, as frames show the larger values.
                Where the agent sees several cameras, or vectors, one dict of them by name.

        Raises:
            SettingError: they are no such pictures, or no such dict.
        """
        frame = self.prepare(*pictures)[np.newaxis]
        before = self._frames
        full = np.repeat(frame, self.observation_shape[0], 0) if before is None else np.concatenate([before[1:], frame])
        self._frames = full
        return full.copy()

    def reset(self) -> None:
        """Begin an episode: the next picture that `observe` gets fills the stack."""
        self._frames = None

    def make_env(self, *, seed: int | None = None) -> gymnasium.Env[Pixels, Any]:
        """Return the run's environment as it is evaluated: whole games, raw rewards, the environment's own actions.

        Args:
            seed: of its first `reset()`; later ones go on from there.

        Raises:
            SettingError: it can't be made here.
        """
        return PlayEnvironment(self.config, seed=seed)

    def _several(self, observation: ArrayLike) -> tuple[Pixels, bool]:
        """Return observations [B, S, C, H, W], and whether a single one was given."""
        on_cpu = observation.cpu() if isinstance(observation, torch.Tensor) else observation
        given, wanted = np.asarray(on_cpu), self.observation_shape
        if given.dtype != np.uint8 or given.shape[-4:] != wanted or given.ndim > 5 or not given.size:
            raise SettingError(
                f"the observation is {given.dtype} {list(given.shape)}: this agent takes uint8 {list(wanted)}, or "
                "several with a batch axis in front; agent.observe makes one of pictures"
            )
        return np.require(given, requirements=("C", "W")).reshape(-1, *wanted), given.ndim == 4
