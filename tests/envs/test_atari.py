"""Environments on real games: the Atari protocol, exact state, refusals; and the painted test environment."""

import json
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ale_py
import cv2
import gymnasium
import numpy as np
import numpy.typing as npt
import pytest

from painted import Episode, PaintedEnvironment, painted_number
from seer.envs.atari import AtariEnvironment, known_atari_games, make_atari
from seer.envs.base import Drawing, Info, PixelEnvironment, Pixels
from seer.errors import SettingError

Transition = tuple[npt.NDArray[np.uint8], float, bool, bool, dict[str, Any]]


def through_json(value: Any) -> Any:
    """What a checkpoint does to a state: arrays stay arrays, everything else becomes JSON and comes back."""
    if isinstance(value, dict):
        return {key: through_json(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else json.loads(json.dumps(value))


def play(environment: PixelEnvironment, *, seed: int, steps: int) -> list[Transition]:
    """`steps` random steps, with resets where they are due; each reset is recorded like a step."""
    rng = np.random.default_rng(seed)
    record: list[Transition] = []
    for _ in range(steps):
        if environment.state_dict()["needs_reset"]:
            observation, info = environment.reset()
            record.append((observation, 0.0, False, False, info))
        record.append(environment.step(rng.integers(environment.action_space.n)))  # type: ignore[attr-defined]
    return record


def assert_same(left: list[Transition], right: list[Transition]) -> None:
    assert len(left) == len(right)
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        assert np.array_equal(one[0], other[0]), f"observations differ at {place}"
        assert one[1:] == other[1:], f"differs at {place}"


# The Atari protocol


def test_observations_are_those_of_a_slow_obvious_emulation() -> None:
    game = make_atari("ALE/Qbert-v5", training=False)
    observation, _ = game.reset(seed=3)
    raw: Any = gymnasium.make(
        "ALE/Qbert-v5", frameskip=1, repeat_action_probability=0.0, max_num_frames_per_episode=108_000
    ).unwrapped
    raw.reset(seed=3)
    for _ in range(raw.np_random.integers(1, 31)):
        raw.ale.act(ale_py.Action.NOOP)

    def resized(*screens: npt.NDArray[np.uint8]) -> Any:
        return cv2.resize(np.maximum.reduce(screens), (84, 84), interpolation=cv2.INTER_AREA)

    frames = [resized(raw.ale.getScreenGrayscale())] * 4
    assert np.array_equal(observation[:, 0], np.stack(frames))
    rng = np.random.default_rng(0)
    for _ in range(150):
        action = int(rng.integers(6))
        reward, screens = 0, []
        for _ in range(4):
            reward += raw.ale.act(raw.ale.getMinimalActionSet()[action])
            screens.append(raw.ale.getScreenGrayscale())
        if raw.ale.game_over():
            break
        frames = [*frames[1:], resized(*screens[-2:])]
        observation, seen_reward, *_ = game.step(action)
        assert np.array_equal(observation[:, 0], np.stack(frames))
        assert seen_reward == reward


@pytest.mark.parametrize("env_id", ["ALE/Qbert-v5", "ALE/BankHeist-v5"])
def test_training_differs_from_evaluation_in_lives_and_clipping_only(env_id: str) -> None:
    training, whole = make_atari(env_id, training=True), make_atari(env_id, training=False)
    assert np.array_equal(training.reset(seed=5)[0], whole.reset(seed=5)[0])
    rng = np.random.default_rng(1)
    lives_lost, score, clipped, over = 0, 0.0, 0, False
    while not over:
        action = rng.integers(6)
        observation, reward, terminated, truncated, info = training.step(action)
        plain, plain_reward, over, _, plain_info = whole.step(action)
        score += plain_reward
        clipped += reward != plain_reward
        assert reward == np.clip(plain_reward, -1, 1)
        assert np.array_equal(observation[-1], plain[-1])
        assert not truncated
        if terminated and not over:
            assert "episode" not in info
            with pytest.raises(gymnasium.error.ResetNeeded):
                training.step(0)
            observation, _ = training.reset()
            plain, plain_reward, over, _, plain_info = whole.step(0)
            score += plain_reward
            lives_lost += 1
            assert not over, "choose another seed: the step without action ended the game"
            assert np.array_equal(observation, np.broadcast_to(plain[-1], observation.shape))
    assert terminated
    assert lives_lost >= 2
    assert clipped > 0
    assert plain_info["episode"]["return"] == score
    assert info["episode"] == {"return": score, "length": plain_info["episode"]["length"] - lives_lost}
    observation, info = training.reset()
    assert info["episode_frame_number"] <= 30, "a new game"


def test_a_game_starts_with_1_to_30_frames_without_action() -> None:
    game = make_atari("ALE/Pong-v5", training=True)
    frames = [game.reset()[1]["episode_frame_number"] for _ in range(40)]
    assert 1 <= min(frames) < 10
    assert 20 < max(frames) <= 30
    none = make_atari("ALE/Pong-v5", training=True, noop_max=0)
    assert none.reset()[1]["episode_frame_number"] == 0


def test_the_frame_limit_truncates() -> None:
    game = make_atari("ALE/Alien-v5", training=True, max_frames=100)
    record = play(game, seed=0, steps=60)
    ends = [info for *_, truncated, info in record if truncated]
    assert len(ends) >= 2
    assert all(info["episode_frame_number"] == 100 and 17 < info["episode"]["length"] <= 25 for info in ends)
    assert not any(terminated for _, _, terminated, _, _ in record)


def test_the_usual_frame_limit_is_half_an_hour() -> None:
    game: Any = make_atari("ALE/Alien-v5", training=True).unwrapped
    assert game._console.ale.getInt("max_num_frames_per_episode") == 108_000 == 30 * 60 * 60


def play_until_a_life_is_lost(game: AtariEnvironment) -> tuple[float, int, int]:
    """Returns unclipped score (Alien pays more than 1 at a time), steps and frames."""
    game.reset(seed=11)
    rng = np.random.default_rng(2)
    terminated, steps = False, 0
    while not terminated:
        _, _, terminated, _, info = game.step(rng.integers(18))
        steps += 1
    return game.state_dict()["episode_return"], steps, info["episode_frame_number"]


def test_a_game_that_ends_between_two_lives_is_reported_by_reset() -> None:
    score, steps, frames = play_until_a_life_is_lost(make_atari("ALE/Alien-v5", training=True))
    game = make_atari("ALE/Alien-v5", training=True, max_frames=frames + 2)
    play_until_a_life_is_lost(game)
    _, info = game.reset()
    assert info["episode"] == {"return": score, "length": steps}
    assert info["episode_frame_number"] <= 30, "a new game"
    assert info["lives"] == 3
    _, _, _, _, info = game.step(0)
    assert game.state_dict()["episode_length"] == 1


def test_reset_with_a_seed_starts_a_new_game_even_after_a_lost_life() -> None:
    game = make_atari("ALE/Alien-v5", training=True)
    first, _ = game.reset(seed=11)
    play_until_a_life_is_lost(game)
    again, info = game.reset(seed=11)
    assert info["lives"] == 3
    assert np.array_equal(first, again)


def test_shapes_attributes_and_pictures() -> None:
    game = make_atari("ALE/Alien-v5", training=False, stack=3, image_size=42)
    observation, _ = game.reset(seed=0)
    assert (game.frame_shape, game.stack, game.action_repeat) == ((1, 42, 42), 3, 4)
    assert game.action_space == gymnasium.spaces.Discrete(18)
    assert game.observation_space.contains(observation)
    before = observation.copy()
    game.step(2)
    assert np.array_equal(observation, before), "an observation handed out doesn't change later"
    picture = game.render()
    assert picture.shape == (210, 160, 3)
    assert picture.dtype == np.uint8
    assert picture.max() > 0
    assert game.metadata["render_fps"] == 15


# Exact state


@pytest.mark.parametrize(
    ("env_id", "training", "steps"),
    [("ALE/Alien-v5", True, 500), ("ALE/Qbert-v5", False, 250), ("ALE/Breakout-v5", True, 100)],
)
def test_a_restored_game_goes_on_bit_for_bit(env_id: str, training: bool, steps: int) -> None:
    original = make_atari(env_id, training=training)
    original.reset(seed=8)
    play(original, seed=0, steps=steps)
    state = through_json(original.state_dict())
    restored = make_atari(env_id, training=training)
    restored.load_state_dict(state)
    assert np.array_equal(original.render(), restored.render())
    assert_equal_states(restored.state_dict(), state)
    left, right = (play(game, seed=1, steps=600) for game in (original, restored))
    assert any("episode" in info for *_, info in left), "the comparison should cross a game's end"
    assert_same(left, right)
    assert_equal_states(restored.state_dict(), original.state_dict())


def test_a_used_environment_can_be_restored_too_also_when_a_game_is_over() -> None:
    original, restored = (make_atari("ALE/Breakout-v5", training=False) for _ in range(2))
    original.reset(seed=8)
    rng = np.random.default_rng(0)
    while not original.state_dict()["needs_reset"]:
        original.step(rng.integers(4))
    play(restored, seed=9, steps=20)
    restored.load_state_dict(through_json(original.state_dict()))
    assert_same(play(original, seed=1, steps=300), play(restored, seed=1, steps=300))


def test_a_state_saved_before_the_first_reset_keeps_the_seeds() -> None:
    original, restored = (make_atari("ALE/Breakout-v5", training=True) for _ in range(2))
    restored.load_state_dict(through_json(original.state_dict()))
    assert_same(play(original, seed=1, steps=100), play(restored, seed=1, steps=100))


def assert_equal_states(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        if isinstance(value, dict):
            assert_equal_states(value, right[name])
        else:
            assert np.array_equal(value, right[name]), name


def test_a_state_saved_between_a_lost_life_and_its_reset_goes_on_with_the_same_game() -> None:
    original, restored = (make_atari("ALE/Alien-v5", training=True) for _ in range(2))
    play_until_a_life_is_lost(original)
    restored.load_state_dict(through_json(original.state_dict()))
    assert restored.reset()[1]["lives"] == 2
    original.reset()
    assert_same(play(original, seed=1, steps=200), play(restored, seed=1, steps=200))


def test_the_state_of_another_game_is_refused() -> None:
    state = make_atari("ALE/Alien-v5", training=True).state_dict()
    with pytest.raises(SettingError, match=r"ALE/Alien-v5 on ale-py .* ALE/Qbert-v5"):
        make_atari("ALE/Qbert-v5", training=True).load_state_dict(state)


def test_a_state_that_other_settings_can_not_reach_is_refused() -> None:
    game = make_atari("ALE/Alien-v5", training=True)
    play(game, seed=0, steps=50)
    with pytest.raises(SettingError, match="action_repeat"):
        make_atari("ALE/Alien-v5", training=True, action_repeat=2).load_state_dict(game.state_dict())


# Refusals and silence


@pytest.mark.parametrize(
    ("env_id", "nearest"),
    [
        ("ALE/Alein-v5", "ALE/Alien-v5"),
        ("Alien", "ALE/Alien-v5"),
        ("ALE/alien-v5", "ALE/Alien-v5"),
        ("ALE/Alien-v4", "ALE/Alien-v5"),
        ("AlienNoFrameskip-v4", "ALE/Alien-v5"),
        ("space_invaders", "ALE/SpaceInvaders-v5"),
        ("CartPole-v1x", "ids look like"),
    ],
)
def test_an_unknown_game_is_refused_with_the_nearest_one(env_id: str, nearest: str) -> None:
    with pytest.raises(SettingError) as refusal:
        make_atari(env_id, training=True)
    assert repr(env_id) in str(refusal.value)
    assert nearest in str(refusal.value)


def test_known_games() -> None:
    games = known_atari_games()
    assert {"ALE/Alien-v5", "ALE/Qbert-v5", "ALE/Krull-v5"} <= set(games)
    assert games == sorted(games)


def test_a_missing_ale_py_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(SettingError, match="pip install ale-py"):
        make_atari("ALE/Alien-v5", training=True)


def test_a_missing_rom_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(SettingError, match="ALE_ROMS_DIR"):
        make_atari("ALE/Alien-v5", training=True)


def test_nothing_is_printed() -> None:
    script = """
from seer.envs.atari import make_atari
game = make_atari("ALE/Alien-v5", training=True)
game.reset(seed=1)
game.step(0)
game.load_state_dict(game.state_dict())
game.reset()
game.close()
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# The painted environment, and through it what PixelEnvironment does for every simulator


def test_painted_numbers_stacks_ends_and_rewards() -> None:
    environment = PaintedEnvironment(
        episodes=[Episode(2), Episode(3, truncated=True)],
        rewards=[0.0, 1.0, 2.0],
        frame_shape=(1, 3, 2),
        stack=3,
    )
    assert environment.observation_space.shape == (3, 1, 3, 2)
    stacks, rewards, ends, reports = [], [], [], []
    for observation, reward, terminated, truncated, info in play(environment, seed=0, steps=6):
        stacks.append(painted_number(observation).tolist())
        rewards.append(reward)
        ends.append((terminated, truncated))
        reports.append(info.get("episode"))
    assert stacks == [
        *([0, 0, 0], [0, 0, 1], [0, 1, 2]),
        *([3, 3, 3], [3, 3, 4], [3, 4, 5], [4, 5, 6]),
        *([7, 7, 7], [7, 7, 8]),
    ]
    assert rewards == [0, 1, 2, 0, 1, 2, 0, 0, 2]
    assert [place for place, (terminated, _) in enumerate(ends) if terminated] == [2]
    assert [place for place, (_, truncated) in enumerate(ends) if truncated] == [6]
    assert reports[2] == {"return": 3.0, "length": 2}
    assert reports[6] == {"return": 3.0, "length": 3}
    assert reports.count(None) == 7


def test_painted_numbers_go_beyond_one_byte() -> None:
    environment = PaintedEnvironment(episodes=[Episode(1000)])
    record = play(environment, seed=0, steps=700)
    observations = np.stack([observation for observation, *_ in record])
    assert observations.shape == (701, 4, 1, 84, 84)
    assert painted_number(observations[:, -1]).tolist() == list(range(701))


def test_a_step_without_reset_is_refused() -> None:
    environment = PaintedEnvironment(episodes=[Episode(1)])
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.step(0)
    environment.reset()
    environment.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.step(0)


@pytest.mark.parametrize("steps", range(8))
def test_a_restored_painted_environment_goes_on(steps: int) -> None:
    original, restored = PaintedEnvironment(), PaintedEnvironment()
    play(original, seed=0, steps=steps)
    play(restored, seed=0, steps=3)
    restored.load_state_dict(through_json(original.state_dict()))
    assert_same(play(original, seed=1, steps=20), play(restored, seed=1, steps=20))


class DrawnLater(PaintedEnvironment):
    """Hands out promises of its frames; `finish` keeps the newest."""

    def _advance(self, action: Any) -> tuple[Drawing, float, bool, bool, Info]:
        self.frame, *rest = super()._advance(action)
        self.promise: Future[Pixels] = Future()
        return self.promise, *rest

    def finish(self) -> None:
        self.promise.set_result(self.frame)


def test_a_step_needn_t_wait_for_its_picture() -> None:
    later, at_once = DrawnLater(), PaintedEnvironment()
    later.reset()
    at_once.reset()
    reward, terminated, truncated, _ = later.advance(0)  # returns though nothing is drawn
    threading.Timer(0.05, later.finish).start()
    observation = later.observe()  # waits
    expected = at_once.step(0)
    assert np.array_equal(observation, expected[0])
    assert (reward, terminated, truncated) == expected[1:4]
    assert np.array_equal(later.observe(), observation)


def test_the_simulator_stays_as_it_is_while_it_is_drawn() -> None:
    environment = DrawnLater()
    environment.reset()
    environment.advance(0)
    waiting = threading.Thread(target=environment.advance, args=(0,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    assert environment._steps == 1
    environment.finish()
    waiting.join(5)
    assert environment._steps == 2
