"""Atari: the protocol on real games, refusals and silence."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import ale_py
import cv2
import gymnasium
import numpy as np
import pytest

from playing import play
from seer.envs.atari import AtariEnvironment, known_atari_games, make_atari
from seer.envs.base import Pixels
from seer.errors import SettingError


def test_observations_are_those_of_a_slow_obvious_emulation() -> None:
    game = make_atari("ALE/Qbert-v5", training=False)
    observation, _ = game.reset(seed=3)
    raw: Any = gymnasium.make(
        "ALE/Qbert-v5", frameskip=1, repeat_action_probability=0.0, max_num_frames_per_episode=108_000
    ).unwrapped
    raw.reset(seed=3)
    for _ in range(raw.np_random.integers(1, 31)):
        raw.ale.act(ale_py.Action.NOOP)

    def resized(*screens: Pixels) -> Any:
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
