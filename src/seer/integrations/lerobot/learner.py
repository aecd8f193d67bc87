"""LeRobot's learner, with features in place of pictures: `python -m seer.integrations.lerobot.learner`.

The command line and the configuration are LeRobot's; `--seer.*` flags are added (options.py).
"""

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lerobot.datasets import LeRobotDataset
from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
from lerobot.rl import learner
from lerobot.rl.algorithms.sac import SACAlgorithmConfig

from seer.errors import SettingError
from seer.integrations.lerobot.algorithm import StoredFeaturesSAC
from seer.integrations.lerobot.buffer import FeatureReplayBuffer
from seer.integrations.lerobot.features import FrozenFeatures
from seer.integrations.lerobot.options import Options, help_text, take_flags
from seer.integrations.lerobot.processes import serve
from seer.integrations.lerobot.state import read_state, write_state
from seer.integrations.lerobot.versions import check_version

FOLDER = "seer_features"
ONLINE, OFFLINE = "online.safetensors", "offline.safetensors"

Config = Any  # LeRobot's TrainRLServerPipelineConfig


class FeatureLearner:
    """The functions that LeRobot's learner calls in place of its own: the algorithm, the two buffers, the checkpoint.

    Args:
        given: settings from the command line; a resumed run takes the others from its checkpoint.

    Attributes:
        error: the exception that ended the training, which LeRobot logs and forgets.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.error: Exception | None = None
        self._given, self._options = given, Options(**given)
        self._policy: GaussianActorPolicy | None = None
        self._features: FrozenFeatures | None = None
        self._train: Callable[..., None] = learner.add_actor_information_and_train
        self._save: Callable[..., None] = learner.save_training_checkpoint
        self._resume: Callable[[Config], Config] = learner.handle_resume_logic

    def install(self) -> None:
        """Put these methods where LeRobot's learner looks for its functions, in this process alone."""
        learner.handle_resume_logic = self.resume
        learner.add_actor_information_and_train = self.train
        learner.make_algorithm = self.make_algorithm
        learner.initialize_replay_buffer = self.online_buffer
        learner.initialize_offline_replay_buffer = self.offline_buffer
        learner.save_training_checkpoint = self.save_checkpoint
        learner.start_learner = serve

    def resume(self, cfg: Config) -> Config:
        """Return the configuration to go on with, and let the policy have the checkpoint's weights.

        LeRobot 0.6.1 restores critics and optimisers, but makes the policy anew, a random frozen encoder included.
        """
        found = self._resume(cfg)
        if found.resume:
            found.policy.pretrained_path = Path(found.output_dir) / "checkpoints" / "last" / "pretrained_model"
        return found

    def train(self, **arguments: Any) -> None:
        """Run LeRobot's training loop, and keep the exception that ends it."""
        try:
            self._train(**arguments)
        except Exception as error:
            self.error = error
            raise

    def make_algorithm(self, cfg: SACAlgorithmConfig, policy: GaussianActorPolicy) -> StoredFeaturesSAC:
        """Return the algorithm that the configuration names, for stored features."""
        if cfg.type != "sac":
            raise SettingError(f"algorithm.type is {cfg.type}, but only sac is known here: use LeRobot's own learner")
        self._policy = policy
        return StoredFeaturesSAC(policy, cfg)

    def online_buffer(self, cfg: Config, device: Any, storage_device: Any) -> FeatureReplayBuffer:
        """Return the buffer of the run's own steps: empty, or as the checkpoint has it."""
        return self._buffer(cfg, (device, storage_device), ONLINE, cfg.policy.online_buffer_capacity, "dataset")

    def offline_buffer(self, cfg: Config, device: Any, storage_device: Any) -> FeatureReplayBuffer:
        """Return the buffer of demonstrations and interventions: encoded now, or as the checkpoint has it."""
        capacity = cfg.policy.offline_buffer_capacity
        return self._buffer(cfg, (device, storage_device), OFFLINE, capacity, "dataset_offline")

    def save_checkpoint(
        self, *, cfg: Config, replay_buffer: FeatureReplayBuffer,
        offline_replay_buffer: FeatureReplayBuffer | None = None, **rest: Any,
    ) -> None:  # fmt: skip
        """Write LeRobot's checkpoint, with the features of both buffers in place of its datasets of pictures."""
        folder = Path(cfg.output_dir) / FOLDER
        offline = None
        if offline_replay_buffer is not None:
            offline = _Checkpointed(offline_replay_buffer, folder / OFFLINE)
        online = _Checkpointed(replay_buffer, folder / ONLINE)
        self._save(cfg=cfg, replay_buffer=online, offline_replay_buffer=offline, **rest)

    def _buffer(
        self, cfg: Config, devices: tuple[Any, Any], name: str, capacity: int, lerobots: str
    ) -> FeatureReplayBuffer:
        settings: dict[str, Any] = {
            "device": str(devices[0]), "storage_device": str(devices[1]), "features": self._made_features(cfg),
            "state_keys": list(cfg.policy.input_features),
            "keep_episodes": self._options.keep_episodes if name == ONLINE else 0,
        }  # fmt: skip
        file = Path(cfg.output_dir) / FOLDER / name
        if cfg.resume and file.exists():
            state = read_state(file)
            buffer = FeatureReplayBuffer(capacity, **settings)
            buffer.load_state_dict(state)
            if len(buffer) < state["size"]:
                logging.warning("[SEER] %s: the oldest of %s saved steps don't fit", file, state["size"])
        elif cfg.resume and (pictures := _set_aside(Path(cfg.output_dir) / lerobots)) is not None:
            logging.info("[SEER] Encoding the dataset of LeRobot's own learner, which is kept as %s", pictures)
            repo_id = cfg.dataset.repo_id if cfg.dataset is not None else None
            dataset = LeRobotDataset(repo_id=repo_id, root=pictures)
            buffer = FeatureReplayBuffer.from_lerobot_dataset(dataset, capacity=capacity, **settings)
        elif name == OFFLINE:
            dataset = learner.make_dataset(cfg)
            buffer = FeatureReplayBuffer.from_lerobot_dataset(dataset, capacity=capacity, **settings)
        else:
            buffer = FeatureReplayBuffer(capacity, **settings)
        size = f", {buffer.bytes_per_step:,} bytes each" if len(buffer) else ""
        logging.info("[SEER] %s: %s steps of at most %s%s", name.partition(".")[0], len(buffer), capacity, size)
        return buffer

    def _made_features(self, cfg: Config) -> FrozenFeatures:
        if self._features is None:
            assert self._policy is not None, "LeRobot makes the algorithm first"
            online = Path(cfg.output_dir) / FOLDER / ONLINE
            if cfg.resume and online.exists():
                state = read_state(online)
                saved = {"dtype": state["dtype"], "views": state["views"], "keep_episodes": state["kept"]["most"]}
                self._options = Options(**(saved | self._given))
            options = self._options
            preprocessor, _ = learner.make_pre_post_processors(
                policy_cfg=cfg.policy, dataset_stats=cfg.policy.dataset_stats
            )
            self._features = FrozenFeatures(self._policy, preprocessor, dtype=options.dtype, views=options.views)
            logging.info("[SEER] Pictures are stored as features: %s", dataclasses.asdict(options))
            if cfg.policy.vision_encoder_name is None and not cfg.policy.pretrained_path:
                logging.warning("[SEER] policy.vision_encoder_name isn't set: the frozen encoder has random weights")
        return self._features


class _Checkpointed:
    """A buffer in the place where LeRobot's checkpoint writes a dataset: it writes its features to `file`.

    A dataset is written as well where pictures are kept.
    """

    def __init__(self, buffer: FeatureReplayBuffer, file: Path) -> None:
        self._buffer, self._file = buffer, file

    def to_lerobot_dataset(self, repo_id: str, fps: int = 1, root: Any = None) -> None:
        write_state(self._file, self._buffer.state_dict())
        if len(self._buffer.kept):
            self._buffer.to_lerobot_dataset(repo_id, fps=fps, root=root)


def _set_aside(dataset: Path) -> Path | None:
    """Return the folder of a dataset that LeRobot's own checkpoint wrote, moved from where the next one is written.

    It was moved before where the learner ended before its first checkpoint.
    """
    kept = dataset.with_name(dataset.name + "_before_features")
    if not kept.exists() and (dataset / "meta" / "info.json").exists():
        dataset.rename(kept)
    return kept if kept.exists() else None


def main() -> None:
    """Run the learner; end with one line where a setting is wrong."""
    try:
        check_version()
        given, sys.argv[1:] = take_flags(sys.argv[1:])
        session = FeatureLearner(given)
    except SettingError as error:
        raise SystemExit(f"error: {error}") from None
    session.install()
    try:
        learner.train_cli()
    except SystemExit:
        if {"-h", "--help"} & set(sys.argv):  # below LeRobot's own flags, which fill screens
            print(help_text())
        raise
    if session.error is not None:
        raise SystemExit(f"error: {session.error}")


if __name__ == "__main__":
    main()
