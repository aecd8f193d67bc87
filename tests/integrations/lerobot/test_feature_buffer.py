"""The buffer against a list of what was added, its views, dtypes, state and datasets."""

import itertools
import resource
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lerobot", reason="LeRobot isn't installed here: make lerobot")

import torch
from arm_run import write_demonstrations
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets import LeRobotDataset
from lerobot.rl.buffer import random_shift
from safetensors import SafetensorError
from torch.nn.functional import pad

from lerobot_arm import CAMERAS, policy_of, preprocessor_of, transitions
from seer.errors import SettingError
from seer.integrations.lerobot import FeatureReplayBuffer, FrozenFeatures
from seer.integrations.lerobot.codec import unpack
from seer.integrations.lerobot.features import FEATURES
from seer.integrations.lerobot.state import read_state, write_state


def features_of(seed: int = 0, **settings: Any) -> FrozenFeatures:
    policy = policy_of(seed)
    return FrozenFeatures(policy, preprocessor_of(policy), **({"dtype": "float32"} | settings))


def filled(features: FrozenFeatures, added: list[dict[str, Any]], capacity: int = 12, keep: int = 0) -> Any:
    buffer = FeatureReplayBuffer(capacity, "cpu", features=features, keep_episodes=keep)
    for transition in added:
        buffer.add(**transition)
    return buffer


def maps(features: FrozenFeatures, observation: dict[str, torch.Tensor]) -> torch.Tensor:
    """Features of one observation, in the slow way: the encoder on its normalised pictures."""
    policy_images = features._preprocessor.process_observation({key: observation[key] for key in CAMERAS})
    with torch.no_grad():
        found = features._encoder.get_cached_image_features(policy_images)
    return torch.cat([found[key].flatten() for key in CAMERAS])


def check_samples(buffer: Any, features: FrozenFeatures, added: list[dict[str, Any]], draws: int = 60) -> None:
    """Each sampled step is one of the newest that fit, whole, with its own next observation; each of them is drawn."""
    stored = added[-buffer.capacity :]
    by_joints = {tuple(step["state"]["observation.state"][0].tolist()): step for step in stored}
    seen = set()
    batch = [buffer.sample(len(stored)) for _ in range(draws)]
    for each in batch:
        for row in range(len(each["reward"])):
            key = tuple(each["state"]["observation.state"][row].tolist())
            step = by_joints[key]
            seen.add(key)
            for name, part in (("state", step["state"]), ("next_state", step["next_state"])):
                found = torch.cat([each[name][FEATURES + camera][row].flatten() for camera in CAMERAS])
                torch.testing.assert_close(found, maps(features, part), rtol=1e-4, atol=1e-5)
                assert torch.equal(each[name]["observation.state"][row], part["observation.state"][0])
            assert torch.equal(each["action"][row], step["action"][0])
            assert each["reward"][row] == torch.tensor(step["reward"])
            assert bool(each["done"][row]) == step["done"]
            assert bool(each["truncated"][row]) == step["truncated"]
            info = each["complementary_info"]
            assert info["discrete_penalty"][row] == step["complementary_info"]["discrete_penalty"]
    assert len(seen) == len(stored)


@pytest.mark.parametrize(
    ("count", "capacity"), [(5, 12), (12, 12), (31, 12), (6, 1)], ids=["part full", "full", "overwritten", "one step"]
)
def test_samples_are_the_steps_that_were_added(count: int, capacity: int) -> None:
    features, added = features_of(), list(transitions(count, episode=5))  # the last slot's next step is the first's
    buffer = filled(features, added, capacity)
    check_samples(buffer, features, added, draws=12)
    breaks = [first["next_state"] is not second["state"] for first, second in itertools.pairwise(added[-capacity:])]
    assert len(buffer._apart) == sum(breaks) + 1  # the newest step's, too: no row is stored that could be shared


def test_steps_that_dont_follow_each_other_keep_their_own_next_observation() -> None:
    """As in LeRobot's buffer of interventions, which gets some steps only."""
    features, added = features_of(), list(transitions(30, episode=5))[::2]
    check_samples(filled(features, added), features, added, draws=12)


def test_a_batch_waits_while_a_step_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """LeRobot's iterator samples in a thread of its own."""
    added = list(transitions(3, episode=4))
    buffer = filled(features_of(), added[:2], capacity=2)
    sampler, waited = threading.Thread(target=buffer.sample, args=(2,), daemon=True), []

    def while_it_is_written(*_: Any) -> None:
        sampler.start()
        sampler.join(1)
        waited.append(sampler.is_alive())

    monkeypatch.setattr(buffer.kept, "add", while_it_is_written)
    buffer.add(**added[2])
    sampler.join(60)
    assert (waited, sampler.is_alive()) == ([True], False)


def test_an_observation_is_encoded_once_for_all_buffers() -> None:
    features, calls = features_of(), []
    features._encoder.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    online = FeatureReplayBuffer(12, "cpu", features=features)
    interventions = FeatureReplayBuffer(12, "cpu", features=features)
    for transition in transitions(8, episode=4):
        online.add(**transition)
        interventions.add(**transition)
    assert len(calls) == 2 * (4 + 1)  # two episodes of four steps and one last observation
    assert len(online._apart) == 2


def test_an_observation_that_is_written_over_is_encoded_again() -> None:
    features, (transition,) = features_of(), list(transitions(1))
    first = features.row(transition["state"])
    transition["state"][CAMERAS[0]].zero_()
    assert not torch.equal(features.row(transition["state"])[CAMERAS[0]], first[CAMERAS[0]])


def test_uint8_pictures_equal_their_floats() -> None:
    features, (transition,) = features_of(), list(transitions(1))
    whole = {key: (value * 255).round().to(torch.uint8) for key, value in transition["state"].items() if key in CAMERAS}
    torch.testing.assert_close(features.rows(whole)[CAMERAS[0]], features.rows(transition["state"])[CAMERAS[0]])


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("int8", 3e-3)])
def test_stored_dtypes_err_little(dtype: str, error: float) -> None:
    """Relative to the largest number of the map: half a step of 255 is 0.002."""
    added = list(transitions(8, episode=4))
    exact, packed = (filled(features_of(dtype=each, views=2), added) for each in ("float32", dtype))  # same shifts
    torch.manual_seed(0)
    expected = exact.sample(8)["state"]
    torch.manual_seed(0)
    found = packed.sample(8)["state"]
    for camera in CAMERAS:
        scale = expected[FEATURES + camera].abs().amax()
        assert 0 < (found[FEATURES + camera] - expected[FEATURES + camera]).abs().amax() < error * scale
    assert packed.states[CAMERAS[0]].dtype == getattr(torch, dtype)
    assert packed.bytes_per_step < exact.bytes_per_step


def test_each_view_is_a_shifted_picture() -> None:
    added = list(transitions(2, episode=2))
    torch.manual_seed(0)
    features = features_of(views=3)
    buffer = filled(features, added)
    image = pad(added[0]["state"][CAMERAS[0]], (4, 4, 4, 4), mode="replicate")
    side = image.shape[-1] - 8
    shifted = torch.cat([image[..., y : y + side, x : x + side] for y in range(9) for x in range(9)])
    with torch.no_grad():
        normalised = features._preprocessor.process_observation({CAMERAS[0]: shifted})[CAMERAS[0]]
        encoded = features._encoder.image_encoder(normalised).flatten(1)
    views = buffer.states[CAMERAS[0]][0].flatten(1)
    assert views.shape[0] == 3
    assert torch.cdist(views, encoded).amin(1).amax() < 1e-3
    assert len({tuple(view.tolist()) for view in views}) > 1
    drawn = [buffer.sample(2)["state"] for _ in range(40)]
    rows = [
        batch[FEATURES + CAMERAS[0]][row].flatten()
        for batch in drawn for row in range(2)
        if torch.equal(batch["observation.state"][row], added[0]["state"]["observation.state"][0])
    ]  # fmt: skip
    assert {int((views - row).abs().sum(1).argmin()) for row in rows} == {0, 1, 2}
    assert all(float((views - row).abs().sum(1).amin()) == 0 for row in rows)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("slot", [0, 1], ids=["next row", "row apart"])
def test_views_are_drawn_for_each_camera_and_for_an_observation_and_the_next(slot: int, dtype: str) -> None:
    torch.manual_seed(0)
    buffer = filled(features_of(views=2, dtype=dtype), list(transitions(3, episode=2)))
    apart = buffer._apart.get(slot)
    assert (apart is None) == (slot == 0)
    next_row = {key: each[1] if apart is None else apart[key][0] for key, each in buffer.states.items()}
    stored = {
        "state": unpack({key: each[slot] for key, each in buffer.states.items()}, list(CAMERAS)),
        "next_state": unpack(next_row, list(CAMERAS)),
    }
    found = set()
    for batch in (buffer.sample(3) for _ in range(150)):
        for row, joints in enumerate(batch["state"]["observation.state"]):
            if torch.equal(joints, buffer.states["observation.state"][slot]):
                views = [
                    (each[camera] == batch[name][FEATURES + camera][row]).flatten(1).all(1).nonzero()
                    for name, each in stored.items() for camera in CAMERAS
                ]  # fmt: skip
                assert all(len(each) == 1 for each in views)
                found.add(tuple(int(each) for each in views))
    assert found == set(itertools.product(range(2), repeat=4))


def test_the_views_of_a_batch_are_each_pictures_own() -> None:
    features = features_of(views=2, shift=lambda images: images)
    first, second = [step["state"] for step in transitions(2, episode=1)]
    both = features.rows({key: torch.cat([first[key], second[key]]) for key in first})
    for place, observation in enumerate((first, second)):
        expected = features.rows(observation)[CAMERAS[0]][0]
        torch.testing.assert_close(both[CAMERAS[0]][place], expected)


@pytest.mark.parametrize("capacity", [12, 7, 40], ids=["same", "smaller", "larger"])
@pytest.mark.parametrize("count", [9, 31])
def test_a_state_is_read_into_a_new_buffer(capacity: int, count: int, tmp_path: Path) -> None:
    features, added = features_of(), list(transitions(count, episode=4))
    before = filled(features, added)
    write_state(tmp_path / "online.safetensors", before.state_dict())
    after = FeatureReplayBuffer(capacity, "cpu", features=features_of())
    after.load_state_dict(read_state(tmp_path / "online.safetensors"))
    assert len(after) == min(len(before), capacity)
    check_samples(after, features, added[-len(after) :], draws=12)
    more = list(transitions(5, seed=9, episode=4))
    for transition in more:  # and goes on
        after.add(**transition)
    check_samples(after, features, (added[-len(before) :] + more)[-capacity:], draws=12)


def test_an_empty_buffer_has_a_state() -> None:
    after = FeatureReplayBuffer(5, "cpu", features=features_of())
    after.load_state_dict(FeatureReplayBuffer(5, "cpu", features=features_of()).state_dict())
    assert len(after) == 0


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 1}, "another encoder"), ({"dtype": "float16"}, "stored as float32 with 0 views, not as float16"),
        ({"views": 2}, "with 0 views, not as float32 with 2"),
    ],
)  # fmt: skip
def test_features_of_another_encoder_are_refused(other: dict[str, Any], said: str) -> None:
    state = filled(features_of(), list(transitions(3))).state_dict()
    with pytest.raises(SettingError, match=said):
        FeatureReplayBuffer(5, "cpu", features=features_of(**other)).load_state_dict(state)


def test_another_normalisation_is_another_digest() -> None:
    policy = policy_of()
    found = FrozenFeatures(policy, preprocessor_of(policy)).digest
    stats = {key: dict(value) for key, value in policy.config.dataset_stats.items()}
    stats[CAMERAS[1]]["mean"] = [0.5, 0.5, 0.5]
    policy.config.dataset_stats = stats
    assert FrozenFeatures(policy, preprocessor_of(policy)).digest != found


def test_a_damaged_file_is_refused_and_a_broken_write_keeps_the_last(tmp_path: Path) -> None:
    file = tmp_path / "online.safetensors"
    state = filled(features_of(), list(transitions(3))).state_dict()
    write_state(file, state)
    whole = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(SafetensorError, match="too large"):
            write_state(file, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == whole
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SettingError, match="no features that can be read"):
        read_state(file)


def test_kept_episodes_become_a_dataset_and_come_back(tmp_path: Path) -> None:
    features, added = features_of(), list(transitions(10, episode=4))
    for transition in added:
        transition["truncated"] = False
        transition["done"] = transition["done"] or transition is added[7]
    buffer = filled(features, added, keep=1)
    again = FeatureReplayBuffer(12, "cpu", features=features, keep_episodes=1)
    again.load_state_dict(buffer.state_dict())
    dataset = again.to_lerobot_dataset("seer/kept", fps=10, root=tmp_path / "dataset")
    assert len(dataset) == 6  # the second episode, and two steps of the third
    read = FeatureReplayBuffer.from_lerobot_dataset(
        dataset, "cpu", list(added[0]["state"]), features=features, keep_episodes=0
    )
    check_samples(read, features, _as_datasets_have_them(added[4:]), draws=12)
    with pytest.raises(SettingError, match="no pictures are kept"):
        filled(features, added).to_lerobot_dataset("seer/none", root=tmp_path / "none")


def test_frames_of_a_video_are_scaled(tmp_path: Path) -> None:
    """LeRobot's `make_dataset` gives them with values from 0 to 255, its other ways of reading from 0 to 1."""
    write_demonstrations(tmp_path / "demonstrations", episodes=1, videos=True)
    features, keys = features_of(), [*CAMERAS, "observation.state"]
    found = []
    for is_uint8 in (True, False):
        dataset = LeRobotDataset("seer/demonstrations", root=tmp_path / "demonstrations", return_uint8=is_uint8)
        assert (dataset[0][CAMERAS[0]].max() > 1) == is_uint8
        found.append(FeatureReplayBuffer.from_lerobot_dataset(dataset, "cpu", keys, features=features))
    for key, rows in found[0].states.items():
        torch.testing.assert_close(rows, found[1].states[key])


def _as_datasets_have_them(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A dataset has no observation after an episode's last step."""
    return [step | {"next_state": step["state"]} if step["done"] or step is steps[-1] else step for step in steps]


def test_batch_normalisation_is_by_running_averages(caplog: pytest.LogCaptureFixture) -> None:
    policy = policy_of()
    policy.encoder_critic.image_encoder.image_enc_layers.append(torch.nn.BatchNorm2d(8).requires_grad_(False))
    features = FrozenFeatures(policy, preprocessor_of(policy), dtype="float32")
    assert "has batch normalisation" in caplog.text
    first, second = [step["state"] for step in transitions(2, episode=1)]
    alone = features.rows(first)
    policy.train()
    both = features.rows({key: torch.cat([first[key], second[key]]) for key in first})
    torch.testing.assert_close(both[CAMERAS[0]][:1], alone[CAMERAS[0]])
    assert features.digest == FrozenFeatures(policy, preprocessor_of(policy)).digest


def test_what_cant_work_is_refused() -> None:
    for changes, said in (
        ({"freeze_vision_encoder": False}, "freeze_vision_encoder is false"),
        ({"shared_encoder": False}, "different image encoders"),
    ):
        policy = policy_of(**changes)
        with pytest.raises(SettingError, match=said):
            FrozenFeatures(policy, preprocessor_of(policy))
    policy = policy_of()
    policy.config.input_features[CAMERAS[1]] = PolicyFeature(FeatureType.VISUAL, (3, 64, 48))
    with pytest.raises(SettingError, match=r"several sizes, \(3, 64, 64\), \(3, 64, 48\)"):
        FrozenFeatures(policy, preprocessor_of(policy))
    mixed = {camera: torch.rand(1, 3, 64, side) for camera, side in zip(CAMERAS, (64, 48), strict=True)}
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):  # nor does LeRobot encode them
        policy.select_action(mixed | {"observation.state": torch.zeros(1, 18)})
    with pytest.raises(ValueError, match=r"wrist has the shape \(3, 64, 48\), but in policy"):
        features_of().row(mixed)
    with pytest.raises(SettingError, match="dtype 'bfloat8'"):
        features_of(dtype="bfloat8")
    with pytest.raises(SettingError, match="views is -1"):
        features_of(views=-1)
    with pytest.raises(SettingError, match="use_drq is True, but 0 shifted views"):
        FeatureReplayBuffer(5, "cpu", use_drq=True, features=features_of())
    with pytest.raises(SettingError, match="image_augmentation_function"):
        FeatureReplayBuffer(5, "cpu", image_augmentation_function=random_shift, features=features_of())
