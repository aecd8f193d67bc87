"""The freeze in memory: nothing is held twice, and a replay sized by the freeze loses nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from seer.runs.folder import read_metrics
from tiny_run import FLAGS, machine_free, seer

FRAME_BYTES, LATENT_BYTES = 84 * 84, 576 * 4


@pytest.mark.slow
def test_a_replay_sized_by_the_freeze_keeps_all_that_one_of_all_frames_keeps(tmp_path: Path) -> None:
    """In 0.58 of the memory, the same run."""
    place = FLAGS.index("--replay-capacity")
    without = FLAGS[:place] + FLAGS[place + 2 :]
    early = ("--freeze-at", 220, "--steps", 400, "--first-update", 190, "--eval-every", 400, "--probe-every", 2000)
    early = (*early, "--max-episode-steps", 401)  # evaluations are cut, no training is
    assert seer("train", *without, *early, "--out", tmp_path / "sized") == 0
    assert seer("train", *without, *early, "--replay-capacity", 400, "--out", tmp_path / "full") == 0
    sized, full = (read_metrics(tmp_path / name) for name in ("sized", "full"))
    sizes = {"replay_bytes", "index_bytes", "capacity_before", "capacity_after"}
    bare = [[{k: v for k, v in machine_free(each).items() if k not in sizes} for each in run] for run in (sized, full)]
    assert bare[0] == bare[1]
    train = [[record for record in records if record["kind"] == "train"][-1] for records in (sized, full)]
    assert [record["replay_size"] for record in train] == [400, 400]
    assert [record["replay_bytes"] for record in train] == [220 * FRAME_BYTES * 17 // 16, 400 * FRAME_BYTES]


FREEZE_A_LARGE_REPLAY = """
import sys
from pathlib import Path
import numpy as np
from seer.training.build import build
from seer.config import Config, FreezeConfig, ReplayConfig, config_to_json
from seer.training.events import Events
from seer.training.loop import freeze, learn
from seer.runs.folder import RunFolder
from seer.runs.logger import run_logger
from seer.signals import StopSignal
from seer.runs.terminal import Terminal

config = Config(env="ALE/Pong-v5", steps=20_000, freeze=FreezeConfig(at="20000"), eval_episodes=1, threads=1,
                device="cpu", replay=ReplayConfig(capacity=20_000))
run = build(config)
frames = np.random.default_rng(0).integers(0, 256, size=(50, 1, 84, 84), dtype=np.uint8)
for step in range(20_000):
    run.replay.append(frames[step % 50], 0, 0.0, terminated=False)
for _ in range(3):
    learn(run)
with RunFolder.create(Path(sys.argv[1]), config_to_json(config)) as folder, run_logger(folder, Terminal()) as logger:
    freeze(run, Events(run, folder, logger), StopSignal(print))
"""


def test_the_freeze_needs_no_second_buffer(tmp_path: Path) -> None:
    """141 MB of frames become latents; a second buffer of either kind would raise the process's own peak by 10%."""
    subprocess.run([sys.executable, "-c", FREEZE_A_LARGE_REPLAY, str(tmp_path / "run")], check=True, timeout=600)
    (freeze,) = read_metrics(tmp_path / "run")
    assert freeze["rows"] == 20_000
    assert freeze["capacity_after"] == 20_000 * FRAME_BYTES // LATENT_BYTES
    assert freeze["rss_bytes_before"] > 141e6
    assert freeze["peak_rss_bytes_after"] < 1.05 * freeze["peak_rss_bytes_before"]
    assert freeze["peak_rss_bytes_before"] < 1.05 * freeze["rss_bytes_before"]  # the peak was not an earlier one
