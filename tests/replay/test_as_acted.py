"""What the replay gives back is what the agent saw and did in a loop of one's own, or it was refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation
from numpy.typing import NDArray

import seer
import third_party

STACK = 4
WAYS: dict[str, Any] = {"reset": "repeat", "zero": "zero"}  # of Gymnasium, and their names here


def make_replay(**options: Any) -> seer.Replay:
    settings = {"num_bytes": 200 * 144, "frame_shape": (1, 12, 12), "stack": STACK} | options
    return seer.make_replay(**({"action_space": spaces.Discrete(3)} | settings))


def encoder_of(replay: seer.Replay) -> seer.FreezableEncoder:
    torch.manual_seed(0)
    return seer.FreezableEncoder(torch.nn.Sequential(torch.nn.Conv2d(STACK, 2, 4, 4), torch.nn.ReLU()), replay)


def act(replay: seer.Replay, encoder: seer.FreezableEncoder, *, padding_type: str) -> list[NDArray[np.uint8]]:
    """Episodes of seven steps, cut by a time limit; returns every observation in the order of the replay's rows."""
    env = FrameStackObservation(third_party.Shows(shape=(12, 12)), STACK, padding_type=padding_type)
    seen = []
    for _ in range(3):
        observation, over = env.reset(seed=len(seen))[0][:, None], False
        while not over:
            seen.append(observation)
            following, _, over, _, _ = env.step(0)
            following = following[:, None]
            replay.append(
                encoder.row(observation), 0, 0.0, terminated=False, truncated=over, final_row=encoder.row(following)
            )
            observation = following
        seen.append(observation)
    return seen


@pytest.mark.parametrize("padding_type", WAYS)
def test_stacks_and_latents_are_of_what_the_agent_acted_on(padding_type: str) -> None:
    replay = make_replay(padding=WAYS[padding_type])
    encoder = encoder_of(replay)
    seen = act(replay, encoder, padding_type=padding_type)
    for index, stack in zip(np.arange(len(seen)), replay.read(np.arange(len(seen))), strict=True):
        assert np.array_equal(stack, seen[index]), index
    batch = replay.sample(200)
    for index, now in zip(batch.index, batch.now, strict=True):
        assert np.array_equal(now, seen[index])
    encoder.freeze()
    expected = encoder.encode(torch.from_numpy(np.stack(seen)))
    torch.testing.assert_close(replay.read(np.arange(len(seen))), expected)


@pytest.mark.parametrize(("padding_type", "other"), [("reset", "zero"), ("zero", "repeat")])
def test_the_other_padding_is_refused_at_the_first_step(padding_type: str, other: Any) -> None:
    replay = make_replay(padding=other)
    said = f"padding is '{other}', but an episode's first stack is padded by '{WAYS[padding_type]}': make the replay"
    with pytest.raises(seer.SettingError, match=said):
        act(replay, encoder_of(replay), padding_type=padding_type)
    assert replay.size == 0


def test_an_episode_that_begins_in_the_middle_is_refused_or_primed() -> None:
    """As after a lost life where nothing is reset."""
    replay = make_replay()
    encoder = encoder_of(replay)
    observation = np.arange(1, 5, dtype=np.uint8)[:, None, None, None].repeat(12, -1).repeat(12, -2)
    with pytest.raises(seer.SettingError, match=r"frames that weren't stored: reset the environment .* prime\(\)"):
        replay.append(encoder.row(observation), 0, 0.0, terminated=True)
    replay.prime(observation[:-1])
    replay.append(encoder.row(observation), 0, 0.0, terminated=True)
    assert np.array_equal(replay.sample(1).now[0], observation)


def test_states_know_their_padding() -> None:
    state = make_replay(padding="zero").state_dict()
    with pytest.raises(seer.SettingError, match="padding is repeat but the saved replay has zero"):
        make_replay().load_state_dict(state)
    older = make_replay().state_dict()
    del older["settings"]["padding"]
    make_replay().load_state_dict(older)
    with pytest.raises(seer.SettingError, match="padding is 'edge': give one of repeat, zero"):
        make_replay(padding="edge")


BOX = spaces.Box(-1, 1, (2,), np.float32)
FINITE = "its numbers must be finite"


@pytest.mark.parametrize(
    ("space", "action", "said"),
    [
        (spaces.Discrete(3), 7, "action is 7: the action space has 0 to 2"),
        (spaces.Discrete(3), -1, "action is -1: the action space has 0 to 2"),
        (spaces.Discrete(3), 1.7, "action is 1.7: it must be a whole number"),
        (spaces.Discrete(3), np.nan, "action is nan: it must be a whole number"),
        (spaces.Discrete(3, start=5), 0, "action is 0: the action space has 5 to 7"),
        (spaces.Discrete(3), [1], r"action is \(1,\), not \(\)"),
        (BOX, [0, np.nan], FINITE),
        (BOX, [np.inf, 0], FINITE),
        (BOX, np.array([1e39, 0]), FINITE),
    ],
)
def test_actions_that_would_be_stored_as_others_are_refused(space: Any, action: Any, said: str) -> None:
    replay = make_replay(action_space=space)
    with pytest.raises(ValueError, match=said):
        replay.append(np.zeros((1, 12, 12), np.uint8), action, 0.0, terminated=False)
    assert replay.size == 0


@pytest.mark.parametrize(
    ("space", "action", "stored"),
    [
        (spaces.Discrete(3), 2, 2),
        (spaces.Discrete(3), np.int32(1), 1),
        (spaces.Discrete(2), True, 1),
        (spaces.Discrete(3), 2.0, 2),
        (spaces.Discrete(3, start=5), torch.tensor(7), 7),
        (BOX, [0.5, -2.0], [0.5, -2.0]),
    ],
)
def test_other_actions_are_stored(space: Any, action: Any, stored: Any) -> None:
    replay = make_replay(action_space=space)
    replay.append(np.zeros((1, 12, 12), np.uint8), action, 0.0, terminated=True)
    assert replay.sample(1).action[0].tolist() == stored


@pytest.mark.parametrize("reward", [np.nan, -np.inf, 1e39])
def test_rewards_that_float32_cannot_hold_are_refused(reward: float) -> None:
    replay = make_replay()
    with pytest.raises(ValueError, match=r"reward is .*: it must be a finite number in float32"):
        replay.append(np.zeros((1, 12, 12), np.uint8), 0, reward, terminated=False)
    assert replay.size == 0


def test_vectors_that_are_not_finite_are_refused() -> None:
    example = {"camera": np.zeros((4, 4, 3), np.uint8), "joints": np.zeros(7)}
    encoder = seer.FrozenEncoder({"camera": torch.nn.Flatten()}, example)
    replay = encoder.make_replay(num_bytes=10_000, action_space=BOX)
    with pytest.raises(ValueError, match=r"'joints' has numbers that aren't finite: \[0.0, nan"):
        encoder.row(example | {"joints": np.array([0, np.nan, 0, 0, 0, 0, 0])})
    row = encoder.row(example)
    row.view(-1)[3] = torch.inf
    with pytest.raises(ValueError, match="row has numbers that aren't finite"):
        replay.append(row, [0, 0], 0.0, terminated=False)
    assert replay.size == 0


@pytest.mark.parametrize("prioritized", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_state_is_loaded_as_torch_loads_by_default(prioritized: bool, frozen: bool, tmp_path: Path) -> None:
    """Without `weights_only=False`; in the file a piece takes its own bytes, not the whole block's."""
    replay, twin = (make_replay(prioritized=prioritized, num_bytes=10_000 * 144) for _ in range(2))
    encoder = encoder_of(replay)
    act(replay, encoder, padding_type="reset")
    if frozen:
        encoder.freeze()
    torch.save(replay.state_dict(), tmp_path / "replay")  # noqa: TID251  # what users do
    assert (tmp_path / "replay").stat().st_size < 200_000 + 10_000 * 8 * 2 * prioritized * 2
    twin.load_state_dict(torch.load(tmp_path / "replay"))  # noqa: TID251
    one, other = replay.sample(50), twin.sample(50)
    assert np.array_equal(one.index, other.index)
    assert torch.equal(one.now, other.now)
    assert torch.equal(one.weight, other.weight)
