"""Atari games saved and restored: they go on bit for bit."""

import numpy as np
import pytest
from test_atari import play_until_a_life_is_lost

from playing import assert_equal_states, assert_same, play, through_json
from seer.envs.atari import make_atari
from seer.errors import SettingError


@pytest.mark.parametrize(
    ("env_id", "training", "steps"),
    [
        pytest.param("ALE/Alien-v5", True, 500, marks=pytest.mark.slow),
        ("ALE/Qbert-v5", False, 250),
        ("ALE/Breakout-v5", True, 100),
    ],
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


def test_sticky_actions_go_on_from_a_saved_state_too() -> None:
    """The emulator draws them; the state keeps its generator."""
    original, restored = (make_atari("ALE/Breakout-v5", training=False, sticky_actions=0.5) for _ in range(2))
    steady = make_atari("ALE/Breakout-v5", training=False)
    for game in (original, steady):
        game.reset(seed=8)
    first, asked = (play(game, seed=0, steps=120) for game in (original, steady))
    assert any(not np.array_equal(mine[0], theirs[0]) for mine, theirs in zip(first, asked, strict=False))
    restored.load_state_dict(through_json(original.state_dict()))
    assert_same(play(original, seed=1, steps=200), play(restored, seed=1, steps=200))


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
