"""The same training with LeRobot as it is and with stored features: the same losses."""

from typing import Any

import pytest

pytest.importorskip("lerobot", reason="LeRobot isn't installed here: make lerobot")

import torch
from lerobot.rl import OnlineOfflineMixer, ReplayBuffer, RLTrainer
from lerobot.rl.algorithms.sac import SACAlgorithm

from lerobot_arm import algorithm_of, policy_of, preprocessor_of, transitions, write_resnet
from seer.integrations.lerobot import FeatureReplayBuffer, FrozenFeatures, StoredFeaturesSAC


def losses(stored: bool, updates: int = 6, dtype: str = "float32", **changes: Any) -> list[dict[str, float]]:
    """What training reports with fixed views, from the same weights, steps and random numbers."""
    utd = changes.pop("utd_ratio", 1)
    policy = policy_of(**changes)
    preprocessor = preprocessor_of(policy)
    algorithm = algorithm_of(StoredFeaturesSAC if stored else SACAlgorithm, policy, utd_ratio=utd)
    buffers: list[Any] = []
    features = FrozenFeatures(policy, preprocessor, dtype=dtype) if stored else None
    for seed, count in ((3, 40), (4, 24)):  # online, offline
        if features is not None:
            buffers.append(FeatureReplayBuffer(30, "cpu", features=features))
        else:
            buffers.append(ReplayBuffer(30, "cpu", use_drq=False, image_augmentation_function=torch.relu))
        for transition in transitions(count, seed=seed, gripper=policy.config.num_discrete_actions is not None):
            buffers[-1].add(**transition)
    trainer = RLTrainer(algorithm, OnlineOfflineMixer(*buffers, online_ratio=0.5), 8, preprocessor=preprocessor)
    mixer = trainer.data_mixer
    torch.manual_seed(5)
    # One thread draws: with two, who takes the next random number is chance, in LeRobot as it is too.
    mixer.get_iterator = lambda batch_size, **_: iter(lambda: mixer.sample(batch_size), None)  # type: ignore[method-assign]
    return [trainer.training_step().to_log_dict() for _ in range(updates)]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_resnet(tmp_path_factory.mktemp("encoder") / "resnet10")


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_discrete_actions": None}, {"vision_encoder_name": "resnet"}, {"utd_ratio": 2}],
    ids=["small", "no gripper", "pretrained", "two batches an update"],
)
def test_losses_equal_lerobots(changes: dict[str, Any], resnet: str) -> None:
    if "vision_encoder_name" in changes:
        changes = {"vision_encoder_name": resnet}
    with_pictures, with_features = losses(False, **changes), losses(True, **changes)
    assert with_pictures[0].keys() == with_features[0].keys()
    for expected, found in zip(with_pictures, with_features, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_other_dtypes_come_close() -> None:
    exact = losses(True)[0]
    assert losses(True, dtype="float16")[0] == pytest.approx(exact, rel=1e-2, abs=1e-2)
    assert losses(True, dtype="int8")[0] == pytest.approx(exact, rel=5e-2, abs=5e-2)
    assert losses(True, dtype="int8")[0] != exact
