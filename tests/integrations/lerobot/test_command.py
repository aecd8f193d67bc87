"""The plug-in's flags, its one way in, and the queue that a stream leaves to the next one."""

import dataclasses
import logging
import multiprocessing
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from queue import Empty, Queue
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lerobot", reason="LeRobot isn't installed here: make lerobot")

import grpc
import torch
from lerobot.rl import learner as lerobot_learner
from lerobot.rl.algorithms.sac import SACAlgorithm

from lerobot_arm import CAMERAS, algorithm_of, policy_of, preprocessor_of
from seer.errors import SettingError
from seer.integrations.lerobot import (
    FeatureReplayBuffer,
    FrozenFeatures,
    StoredFeaturesSAC,
    learner,
    reconnect,
    versions,
)
from seer.integrations.lerobot.options import Options, take_flags
from seer.integrations.lerobot.reconnect import Attempt


def test_flags_are_taken_and_the_others_are_lerobots() -> None:
    given, others = take_flags(["--config_path=a.json", "--seer.views=4", "--seer.dtype", "int8", "--resume=true"])
    assert (given, others) == ({"views": 4, "dtype": "int8"}, ["--config_path=a.json", "--resume=true"])
    assert Options(**given).keep_episodes == 0


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--seer.view=4", "--seer.view is no setting: --seer.dtype, --seer.views"),
        ("--seer.views=many", "not a whole number"),
        ("--seer.views=-1", "--seer.views is -1"), ("--seer.dtype=float8", "dtype 'float8'"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_one_line(flag: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["learner", flag])
    with pytest.raises(SystemExit, match="error: ") as refused:
        learner.main()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_help_ends_with_the_flags() -> None:
    command = [sys.executable, "-m", "seer.integrations.lerobot.learner", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    lerobots, _, ours = done.stdout.partition("seer, stored features:\n")
    assert "--config_path" in lerobots
    expected = [f"--seer.{name}={value}" for name, value in dataclasses.asdict(Options()).items()]
    assert [line.split()[0] for line in ours.splitlines()] == expected


def test_versions_are_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        versions.check_version()
    assert not caplog.messages
    monkeypatch.setattr(versions, "KNOWN", ("0.5.0",))
    versions.check_version()
    assert "isn't known to fit, 0.5.0 is" in caplog.text
    monkeypatch.delattr(lerobot_learner, "initialize_replay_buffer")
    with pytest.raises(SettingError, match=r"has no lerobot\.rl\.learner\.initialize_replay_buffer: pip install"):
        versions.check_version()


def test_what_lerobot_lacks_is_told_on_import(monkeypatch: pytest.MonkeyPatch) -> None:
    versions.require_lerobot()
    monkeypatch.setitem(versions.EXTENDED, "lerobot.rl.nowhere", ("Nothing",))
    with pytest.raises(ImportError, match=r"has no lerobot\.rl\.nowhere: pip install 'lerobot\[hilserl\]"):
        versions.require_lerobot()
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="without its extra hilserl: pip install"):
        versions.require_lerobot()

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ImportError, match="LeRobot is missing: pip install"):
        versions.require_lerobot()


def test_a_batch_of_pictures_is_refused() -> None:
    pictures = {camera: torch.rand(1, 3, 64, 64) for camera in CAMERAS}
    with pytest.raises(ValueError, match="no stored features: sample from a FeatureReplayBuffer"):
        algorithm_of(StoredFeaturesSAC, policy_of()).get_observation_features(pictures, pictures)


def test_another_algorithm_is_refused() -> None:
    with pytest.raises(SettingError, match="is td3, but only sac is known here"):
        learner.FeatureLearner({}).make_algorithm(SimpleNamespace(type="td3"), policy_of())  # type: ignore[arg-type]


def test_lerobots_dataset_is_set_aside_once(tmp_path: Path) -> None:
    """Also where the learner ended between that and its first checkpoint, and wrote a dataset of its own since."""
    dataset, kept = tmp_path / "dataset", tmp_path / "dataset_before_features"
    assert learner._set_aside(dataset) is None
    for text in ("LeRobot's", "kept episodes"):
        (dataset / "meta").mkdir(parents=True)
        (dataset / "meta" / "info.json").write_text(text)
        assert learner._set_aside(dataset) == kept
        assert (kept / "meta" / "info.json").read_text() == "LeRobot's"
        assert learner._set_aside(dataset) == kept


def test_a_checkpoint_before_the_first_kept_step_has_features_alone(tmp_path: Path) -> None:
    """As on a resumed run that keeps episodes from now on."""
    policy = policy_of()
    features = FrozenFeatures(policy, preprocessor_of(policy))
    buffer = FeatureReplayBuffer(5, "cpu", features=features, keep_episodes=2)
    learner._Checkpointed(buffer, tmp_path / "online.safetensors").to_lerobot_dataset("a/b", root=tmp_path / "dataset")
    assert [each.name for each in tmp_path.iterdir()] == ["online.safetensors"]


def test_the_error_that_ends_a_training_is_kept() -> None:
    session = learner.FeatureLearner({})
    with pytest.raises(TypeError):
        session.train(nonsense=1)
    assert isinstance(session.error, TypeError)


def test_frozen_weights_dont_move_with_the_targets() -> None:
    """LeRobot's own do, by rounding; the rest of the targets moves as LeRobot's."""
    after: list[dict[str, Any]] = []
    for kind in (SACAlgorithm, StoredFeaturesSAC):
        policy = policy_of()
        algorithm = algorithm_of(kind, policy, critic_target_update_weight=0.3)
        before = {name: each.clone() for name, each in policy.encoder_critic.image_encoder.state_dict().items()}
        with torch.no_grad():
            for each in [*algorithm.critic_ensemble.critics.parameters(), *policy.discrete_critic.net.parameters()]:
                each.add_(1)
        for _ in range(20):
            algorithm._update_target_networks()
        moved = policy.encoder_critic.image_encoder.state_dict()
        assert (kind is StoredFeaturesSAC) == all(torch.equal(moved[name], before[name]) for name in before)
        after.append(algorithm.critic_target.critics.state_dict() | algorithm.discrete_critic_target.net.state_dict())
    assert all(torch.equal(after[0][name], after[1][name]) for name in after[0])


def test_a_stream_that_is_over_leaves_messages_to_the_next() -> None:
    queue: Queue[bytes] = Queue()
    shutdown = threading.Event()
    first = Attempt(queue, shutdown)
    queue.put(b"one")
    assert first.get(timeout=1) == b"one"
    queue.put(b"two")
    first.over = True
    with pytest.raises(Empty):
        first.get(timeout=1)
    second = Attempt(queue, shutdown)
    assert second.get(timeout=1) == b"two"
    assert (first.is_set(), second.is_set()) == (True, False)
    shutdown.set()
    assert second.is_set()


def test_an_actor_finds_a_learner_that_was_away_for_long() -> None:
    """By itself gRPC waits ever longer between its tries: after half a minute, another 16 seconds."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    ready = threading.Event()
    with grpc.insecure_channel(address, reconnect.channel_options()) as channel:
        channel.subscribe(lambda state: ready.set() if state is grpc.ChannelConnectivity.READY else None, True)
        assert not ready.wait(30)
        server = grpc.server(ThreadPoolExecutor(1))
        assert server.add_insecure_port(address)
        server.start()
        try:
            assert ready.wait(2 * reconnect.RETRY_SECONDS)
        finally:
            server.stop(None)


def test_weights_that_nobody_reads_dont_keep_the_actors_process(monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    queue, shutdown = context.Queue(), context.Event()

    def receive(cfg: Any, received: Any, until: Any) -> None:
        received.put(bytes(1 << 22))  # more than a pipe holds
        shutdown.set()

    monkeypatch.setattr(reconnect, "RECEIVE", receive)
    process = context.Process(target=reconnect.receive_policy, args=(None, queue, shutdown))
    process.start()
    process.join(30)
    has_ended = not process.is_alive()
    process.kill()
    assert has_ended
    assert queue.qsize() == 0  # LeRobot's actor reads until there are none


def test_the_learner_calls_these_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = (
        "handle_resume_logic", "add_actor_information_and_train", "make_algorithm", "initialize_replay_buffer",
        "initialize_offline_replay_buffer", "save_training_checkpoint",
    )  # fmt: skip
    for name in (*replaced, "start_learner"):
        monkeypatch.setattr(lerobot_learner, name, getattr(lerobot_learner, name))  # put back afterwards
    session = learner.FeatureLearner({})
    session.install()
    assert all(getattr(lerobot_learner, name).__self__ is session for name in replaced)
