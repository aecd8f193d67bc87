"""Atari 2600 games on the Arcade Learning Environment (ALE), in the protocol of Mnih et al. 2015.

One step plays `action_repeat` frames with one action and shows the pixelwise maximum of the last two, grey,
scaled by area. A game starts with 1 to `noop_max` frames without action; actions are sticky only if asked for. In
training rewards are clipped to [-1, 1] and a lost life ends the episode. Where published protocols differ, this one
follows OpenAI Baselines `atari_wrappers.py`: a lost life is looked for once per
step, and a count of 0 lives is left to the end of the game (Q*bert shows it some frames early).
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import AtariPreprocessing

from seer.envs.base import Info, PixelEnvironment, Pixels, State
from seer.envs.ids import bare_name, did_you_mean
from seer.errors import SettingError

IDS = "ids look like 'ALE/Alien-v5'"
NOOP = 0  # AtariPreprocessing refuses games whose first action is another
FRAMES_PER_SECOND = 60  # of the console


class AtariEnvironment(PixelEnvironment):
    """Play one Atari game; an episode is a whole game or, in training, a life. Made by `make_atari`.

    In training, `reset()` after a lost life goes on with the same game: it plays one step without action
    and fills the stack with that frame. That step's reward counts in the game's score, but the step isn't
    the agent's and doesn't count in its length. Should it end the game, `reset()` starts a new one, and its
    info carries the finished game's `info["episode"]`. `reset(seed=...)` always starts a new game.

    A saved game is the emulator's snapshot from before the game's start and every action since;
    `load_state_dict` plays them again, at about the speed of `step`. A snapshot from the middle of a game
    would be quicker but isn't exact: ALE's leaves out parts of the picture chip's state (its pull requests
    732 and 739; Q*bert and Tetris go on differently). Starting a game sets those parts anew.
    """

    preparation = "the larger of the last two console pictures' grey levels, squeezed by area (cv2.INTER_AREA)"
    has_time_limit = True

    def __init__(self, game: AtariPreprocessing, *, training: bool, stack: int) -> None:
        width, height = game.screen_size
        super().__init__((1, height, width), stack=stack, action_repeat=game.frame_skip, action_space=game.action_space)
        self.metadata = self.metadata | {"render_fps": FRAMES_PER_SECOND // game.frame_skip}
        self.spec = game.spec
        self.training = training
        self._game = game
        self._console: Any = game.unwrapped  # ale_py.AtariEnv, which types its own attributes loosely
        self._lives = 0
        self._life_lost = False
        self._before_game: State = {}
        self._actions = bytearray()  # since the game's start, the one between two lives included

    def restart(self, *, seed: int | None = None) -> Info:
        """Go on with the same game after a lost life, else start a new one."""
        finished: Info = {}
        if self._life_lost and seed is None:
            self._life_lost = False
            reward, terminated, truncated, info = self._play(NOOP)
            frame, self._drawing = self._drawing, None
            self._lives = info["lives"]
            self._count(reward, over=terminated or truncated, info=info)
            if not self._needs_reset and frame is not None:
                self._start_stack(frame)
                return info
            finished = {"episode": info["episode"]}
        info = super().restart(seed=seed)
        self._lives, self._life_lost = info["lives"], False
        return info | finished

    def advance(self, action: Any) -> tuple[float, bool, bool, Info]:
        """Play one step; `info["episode"]` reports a whole game's unclipped score and length when it ends."""
        reward, terminated, truncated, info = super().advance(action)
        if self.training:
            reward = min(max(reward, -1.0), 1.0)
            lives = info["lives"]
            self._life_lost = not self._needs_reset and 0 < lives < self._lives
            self._lives = lives
            if self._life_lost:
                self._needs_reset = terminated = True
        return reward, terminated, truncated, info

    def render(self) -> Pixels:
        """Return the console's picture after the step's last frame, RGB uint8 [210, 160, 3] (some games 250 high)."""
        screen: Pixels = self._console.ale.getScreenRGB()
        return screen

    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        if seed is not None:
            self._console.seed_game(seed)
            self._console.load_game()  # the emulator takes its seed only then
        self._before_game = self._snapshot()
        self._actions.clear()
        frame, info = self._game.reset()
        return frame[np.newaxis], info

    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        action = int(action)
        self._actions.append(action)
        frame, reward, terminated, truncated, info = self._game.step(action)
        return frame[np.newaxis], float(reward), terminated, truncated, info

    def _simulator_state(self) -> State:
        under_way = self._life_lost or not self._needs_reset
        return {
            "before_game": self._before_game if under_way else self._snapshot(),
            "actions": np.array(self._actions, np.uint8) if under_way else None,
            "ram": self._console.ale.getRAM(),
            "lives": self._lives,
            "life_lost": self._life_lost,
        }

    def _load_simulator_state(self, state: State) -> None:
        self._restore(state["before_game"])
        if state["actions"] is not None:
            self._begin(seed=None)
            for action in state["actions"]:
                self._advance(action)
            if not np.array_equal(self._console.ale.getRAM(), state["ram"]):
                raise SettingError(
                    "the saved game can't be played again from its actions: "
                    "noop_max and action_repeat must be those it was saved with"
                )
        self._lives = int(state["lives"])
        self._life_lost = bool(state["life_lost"])

    def _snapshot(self) -> State:
        """Return the emulator and its random generators; exact only for starting a game from it."""
        emulator = bytearray(self._console.ale.cloneState(include_rng=True).serialize())
        return {"emulator": np.array(emulator, np.uint8), "noop_rng": self._console.np_random.bit_generator.state}

    def _restore(self, snapshot: State) -> None:
        import ale_py

        try:
            self._console.ale.restoreState(ale_py.ALEState(snapshot["emulator"].tobytes()))
        except (RuntimeError, SystemError, ValueError) as error:
            raise SettingError("the saved game can't be read by the emulator") from error
        self._console.np_random.bit_generator.state = snapshot["noop_rng"]

    def _origin(self) -> str:
        import ale_py

        assert self.spec is not None
        return f"{self.spec.id} on ale-py {ale_py.__version__}"


def make_atari(
    env_id: str,
    *,
    training: bool,
    stack: int = 4,
    action_repeat: int = 4,
    image_size: int = 84,
    noop_max: int = 30,
    max_frames: int = 108_000,
    sticky_actions: float = 0.0,
    full_action_space: bool = False,
) -> AtariEnvironment:
    """Make an Atari game.

    Args:
        env_id: such as "ALE/Alien-v5"; one of `known_atari_games()`.
        training: clip rewards to [-1, 1] and end an episode when a life is lost.
        stack, action_repeat, image_size: see `EnvOptions`, where the last is `size`.
        noop_max: most frames without action at the start of a game (at least 1 is played, unless 0).
        max_frames: console frames after which a game is truncated; 108,000 are 30 minutes.
        sticky_actions: probability with which a console frame repeats the action before (Machado et al. 2018).
        full_action_space: all 18 actions of the console, not only those that the game knows.
    """
    if env_id not in known_atari_games():
        hint = did_you_mean(env_id, known_atari_games(), otherwise=IDS)
        raise SettingError(f"--env {env_id!r} is not a known Atari game{hint}")
    try:
        console = gymnasium.make(
            env_id,
            obs_type="grayscale",
            frameskip=1,
            repeat_action_probability=sticky_actions,
            full_action_space=full_action_space,
            max_num_frames_per_episode=max_frames,
            disable_env_checker=True,
        ).unwrapped  # PixelEnvironment enforces the order of reset and step itself
        game = AtariPreprocessing(console, noop_max=noop_max, frame_skip=action_repeat, screen_size=image_size)
    except OSError as error:
        raise SettingError(f"--env {env_id!r}: its ROM can't be read from ALE_ROMS_DIR ({error})") from error
    return AtariEnvironment(game, training=training, stack=stack)


def known_atari_games() -> list[str]:
    """Return the ids that `make_atari` accepts, sorted, such as "ALE/Alien-v5"."""
    import ale_py  # registers its games with Gymnasium

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # else the first console prints a banner
    return sorted(env_id for env_id, spec in gymnasium.registry.items() if spec.namespace == "ALE")


def refusal_of_other_name(env_id: str) -> str | None:
    """Return why Gymnasium mustn't make a game: it would do so in another protocol. None for anything else."""
    games = known_atari_games()
    name = env_id.rpartition(":")[2]
    is_game = bare_name(name) in map(bare_name, games)
    old = (spec for spec in gymnasium.registry.values() if str(spec.entry_point).startswith("ale_py"))
    if not (name.startswith("ALE/") or (is_game and any(name in (spec.id, spec.name) for spec in old))):
        return None
    return f"is an Atari game in another protocol{did_you_mean(name, games, otherwise=IDS)}"
