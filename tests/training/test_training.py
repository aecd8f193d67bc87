"""Whole runs by the real commands: what they leave, killed and resumed, the freeze in memory, evaluation."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seer.config import Config
from seer.errors import RunError, SettingError
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import read_metrics
from seer.training import saving
from seer.training.build_environment import build_environment
from seer.training.evaluation import Evaluation, Evaluator
from seer.training.invariants import Invariants
from seer.training.state import Schedule
from small_agent import make_agent
from tiny_run import BATCH, CAPACITY, FIRST_UPDATE, FLAGS, FREEZE_AT, HIDDEN, STEPS, seer, seer_process

Record = dict[str, Any]
FRAME_BYTES, LATENT_BYTES, ACTIONS, ATOMS = 84 * 84, 576 * 4, 6, 51
ENCODER = 1_280_000
HEADS = 2 * 576 * HIDDEN + HIDDEN * ACTIONS * ATOMS + HIDDEN * ATOMS


def machine_free(record: Record) -> Record:
    """A record without what depends on the machine: figures with `second` or `rss` in their name, and their seal."""
    return {name: value for name, value in record.items() if not any(part in name for part in ("second", "rss", "sha"))}


def flops_by_hand(step: int) -> int:
    """SPEC section 2, step by step, at the end of training step `step`."""
    total = 0
    for t in range(1, step + 1):
        total += ENCODER + HEADS + (ENCODER if t > FREEZE_AT else 0)
        if t == FREEZE_AT:
            total += ENCODER * min(FREEZE_AT, CAPACITY)
        if t >= FIRST_UPDATE:
            total += 5 * BATCH * (ENCODER + HEADS if t < FREEZE_AT else HEADS)
    return total


# What a run leaves -------------------------------------------------------------------------------------------------


def test_a_run_leaves_what_the_readme_says(finished_run: Path) -> None:
    left = {path.name for path in finished_run.iterdir() if not path.name.startswith(".")}
    assert {name for name in left if not name.startswith("events.out")} == {
        "config.json", "metrics.jsonl", "summary.json", "checkpoints", "learning_curve.png",
    }  # fmt: skip
    assert any(name.startswith("events.out") for name in left)
    assert (finished_run / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert load_checkpoint(latest_checkpoint(finished_run / "checkpoints"))["replay"]["memory"] == []


def test_a_replay_sized_by_the_freeze_keeps_all_that_one_of_all_frames_keeps(tmp_path: Path) -> None:
    """In 0.58 of the memory, the same run."""
    place = FLAGS.index("--replay-capacity")
    without = FLAGS[:place] + FLAGS[place + 2 :]
    early = ("--freeze-at", 220, "--steps", 400, "--first-update", 100, "--eval-every", 400, "--probe-every", 2000)
    assert seer("train", *without, *early, "--out", tmp_path / "sized") == 0
    assert seer("train", *without, *early, "--replay-capacity", 400, "--out", tmp_path / "full") == 0
    sized, full = (read_metrics(tmp_path / name) for name in ("sized", "full"))
    sizes = {"replay_bytes", "index_bytes", "capacity_before", "capacity_after"}
    bare = [[{k: v for k, v in machine_free(each).items() if k not in sizes} for each in run] for run in (sized, full)]
    assert bare[0] == bare[1]
    train = [[record for record in records if record["kind"] == "train"][-1] for records in (sized, full)]
    assert [record["replay_size"] for record in train] == [400, 400]
    assert [record["replay_bytes"] for record in train] == [220 * FRAME_BYTES * 17 // 16, 400 * FRAME_BYTES]


def test_every_record_says_what_and_when(finished_run: Path) -> None:
    records = read_metrics(finished_run)
    assert {record["kind"] for record in records} == {"train", "episode", "eval", "freeze", "guard"}
    for record in records:
        assert list(record)[:5] == ["kind", "step", "frames", "flops", "wall_seconds"]
        assert record["frames"] == 4 * record["step"]
    for name in ("step", "flops", "wall_seconds"):
        values = [record[name] for record in records]
        assert values == sorted(values)
    assert [record["step"] for record in records if record["kind"] == "eval"] == [600, 1000]
    assert [record["step"] for record in records if record["kind"] == "train"] == list(range(50, 1001, 50))


def test_records_hold_their_figures(finished_run: Path) -> None:
    of_kind = {kind: [r for r in read_metrics(finished_run) if r["kind"] == kind] for kind in ("train", "episode")}
    for record in of_kind["train"]:
        learnt = {"loss", "q_mean", "gradient_norm"} if record["step"] >= FIRST_UPDATE else set()
        always = {"replay_size", "replay_bytes", "index_bytes", "updates", "updates_per_second", "rss_bytes"}
        assert learnt | always <= record.keys()
        assert all(math.isfinite(record[name]) for name in learnt)
        assert record["updates"] == max(0, record["step"] - FIRST_UPDATE + 1)
        assert record["replay_bytes"] == CAPACITY * FRAME_BYTES
        assert 10**7 < record["rss_bytes"] < 10**11
        if record["step"] < FREEZE_AT:
            assert record["replay_size"] == min(record["step"], CAPACITY)
    (episode,) = of_kind["episode"]
    assert -21 <= episode["episode_return"] <= 21
    assert 500 < episode["episode_length"] <= episode["step"]


def test_flops_are_the_sum_by_hand(finished_run: Path) -> None:
    for record in read_metrics(finished_run):
        if record["kind"] == "train":
            assert record["flops"] == flops_by_hand(record["step"])


def test_the_summary(finished_run: Path) -> None:
    """The keys of the issue, no more and no less, and their values by hand."""
    summary = json.loads((finished_run / "summary.json").read_text())
    records = read_metrics(finished_run)
    assert summary.keys() == {
        "env", "agent", "seed", "steps", "frozen_at", "freeze", "flops", "replay", "updates_per_second",
        "peak_rss_bytes", "wall_seconds", "evaluation", "normalized_score", "metrics_sha256",
    }  # fmt: skip
    assert [summary[name] for name in ("env", "agent", "seed", "steps", "frozen_at")] == [
        "ALE/Pong-v5", "rainbow", 0, STEPS, FREEZE_AT,
    ]  # fmt: skip
    updates = STEPS - FIRST_UPDATE + 1
    assert summary["flops"] == {
        "total": flops_by_hand(STEPS),
        "baseline": (STEPS + 5 * BATCH * updates) * (ENCODER + HEADS),
        "per_step_before": (1 + 5 * BATCH) * (ENCODER + HEADS),
        "per_step_after": (1 + 5 * BATCH) * HEADS + 2 * ENCODER,
        "freeze": ENCODER * CAPACITY,
        "probe": 0,
    }
    assert summary["freeze"] == {"mode": "step", "step": FREEZE_AT, "reason": "given step", "similarity": None}
    replay = summary["replay"]
    assert replay == {
        "bytes": CAPACITY * FRAME_BYTES,
        "row_bytes_before": FRAME_BYTES,
        "row_bytes_after": LATENT_BYTES,
        "capacity_before": CAPACITY,
        "capacity_after": math.floor(CAPACITY * FRAME_BYTES / LATENT_BYTES),
        "size": replay["size"],
        "latent_dtype": "float32",
        "latent_error": None,
        "clipped_share": None,
    }
    assert CAPACITY - 3 + STEPS - FREEZE_AT <= replay["size"] <= CAPACITY + STEPS - FREEZE_AT
    assert summary["updates_per_second"].keys() == {"before", "after"}
    assert all(rate > 0 for rate in summary["updates_per_second"].values())
    assert summary["peak_rss_bytes"] > max(r["rss_bytes"] for r in records if r["kind"] == "train") // 2
    assert summary["wall_seconds"] >= records[-1]["wall_seconds"] > 0
    evaluations = [record for record in records if record["kind"] == "eval"]
    assert summary["evaluation"] == [
        {name: record[name] for name in ("step", "mean", "std", "episodes")} for record in evaluations
    ]
    assert all(np.mean(record["returns"]) == record["mean"] for record in evaluations)
    assert summary["normalized_score"] == pytest.approx((evaluations[-1]["mean"] + 20.7) / (14.6 + 20.7))


def test_the_freeze_record(finished_run: Path) -> None:
    (freeze,) = [record for record in read_metrics(finished_run) if record["kind"] == "freeze"]
    assert freeze["step"] == FREEZE_AT
    assert freeze["rows"] == CAPACITY - 3  # three of the oldest have lost part of their stack of four
    assert freeze["capacity_after"] == CAPACITY * FRAME_BYTES // LATENT_BYTES


# (f) Killed and resumed; make test has such a run in test_kill_points.py --------------------------------------------


@pytest.fixture(scope="module")
def hunted_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run of `finished_run` again, in four processes, stopped three times; and its agent at the second.

    SIGKILL before the freeze, SIGTERM after it, SIGKILL once more.
    """
    folder = tmp_path_factory.mktemp("hunted") / "run"
    killed = seer_process("train", *FLAGS, "--out", folder, step=590, signal=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read_metrics(folder)[-1]["step"] == 550  # a record that will be taken back
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000500"

    stopped = seer_process("resume", folder, step=720, signal=signal.SIGTERM)
    assert stopped.returncode == 130, stopped.stderr
    assert f"seer resume {folder}" in " ".join(stopped.stdout.split())
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000720"
    agent = load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]
    then = {name: {key: part.clone() for key, part in agent["modules"][name].items()} for name in ("online", "target")}

    killed = seer_process("resume", folder, "--env-timeout", 200, step=900, signal=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000750"
    assert not (folder / "summary.json").exists()

    assert seer("resume", folder) == 0
    assert json.loads((folder / "config.json").read_text())["env_timeout"] == 200
    return folder, then


@pytest.mark.slow
def test_a_killed_run_ends_as_if_nothing_had_happened(
    finished_run: Path, hunted_run: tuple[Path, dict[str, Any]]
) -> None:
    """Record for record, but for figures with `second` or `rss` in their name, and no other figure depends on luck."""
    ours, theirs = read_metrics(finished_run), read_metrics(hunted_run[0])
    assert [machine_free(record) for record in theirs] == [machine_free(record) for record in ours]
    summaries = [json.loads((run / "summary.json").read_text()) for run in (finished_run, hunted_run[0])]
    assert machine_free(summaries[0]) == machine_free(summaries[1])


@pytest.mark.slow
def test_wall_time_goes_on_where_it_was(hunted_run: tuple[Path, dict[str, Any]]) -> None:
    values = [record["wall_seconds"] for record in read_metrics(hunted_run[0])]
    assert values == sorted(values)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_agent(finished_run: Path, hunted_run: tuple[Path, dict[str, Any]]) -> None:
    ours, theirs = (
        load_checkpoint(latest_checkpoint(run / "checkpoints"))["agent"] for run in (finished_run, hunted_run[0])
    )
    for network in ("online", "target"):
        left, right = ours["modules"][network], theirs["modules"][network]
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert torch.equal(ours["generators"]["noise"], theirs["generators"]["noise"])
    assert ours["updates"] == theirs["updates"] == STEPS - FIRST_UPDATE + 1


@pytest.mark.slow
def test_frozen_layers_end_as_they_were_at_the_freeze(hunted_run: tuple[Path, dict[str, Any]]) -> None:
    folder, then = hunted_run
    now = load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]["modules"]
    encoder = [name for name in then["online"] if name.startswith("encoder.")]
    assert encoder
    for name in encoder:
        assert torch.equal(now["online"][name], then["online"][name])
        assert torch.equal(now["target"][name], then["online"][name])
    heads = [name for name in then["online"] if name not in encoder]
    assert not any(torch.equal(now["online"][name], then["online"][name]) for name in heads)


# The freeze in memory ----------------------------------------------------------------------------------------------

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
from seer.runs.stop_signal import StopSignal
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


# Evaluation and schedule -------------------------------------------------------------------------------------------


def test_an_evaluation_depends_on_seed_step_and_agent_alone() -> None:
    """Not on the games that its environments played before, nor on anybody's random numbers; and it changes none."""
    config = Config(env="ALE/Breakout-v5")  # whose games are short
    agent = make_agent(stack=4, frame_shape=(1, 84, 84), num_actions=4)

    def evaluator(seed: int) -> Evaluator:
        # Half of the actions are random, so that games of another seed go differently.
        return Evaluator([build_environment(config, training=False)], epsilon=0.5, seed=seed)

    def results(evaluation: Evaluation) -> tuple[Any, ...]:
        return evaluation.returns, evaluation.lengths

    used = evaluator(3)
    generator = torch.get_rng_state()
    first = results(used(agent, episodes=1, step=7))
    other_step = results(used(agent, episodes=1, step=8))
    assert torch.equal(torch.get_rng_state(), generator)
    agent.explore(np.zeros((4, 1, 84, 84), np.uint8))
    torch.manual_seed(1)
    assert results(used(agent, episodes=1, step=7)) == first
    assert results(evaluator(3)(agent, episodes=1, step=7)) == first
    assert other_step != first


def test_evaluation_statistics() -> None:
    evaluation = Evaluation(returns=(1.0, 3.0), lengths=(10, 20))
    assert (evaluation.mean, evaluation.std) == (2.0, 1.0)


def test_importance_exponent_rises_linearly_to_1() -> None:
    schedule = Schedule(
        steps=1000, first_update=1, updates_per_step=1, batch_size=1, importance_exponent=0.4, log_every=1,
        eval_every=1, eval_episodes=1, checkpoint_every=1,
    )  # fmt: skip
    assert [schedule.importance_exponent_at(step) for step in (0, 500, 1000)] == pytest.approx([0.4, 0.7, 1.0])


def test_fresh_heads_come_behind_the_evaluation_and_never_last(tmp_path: Path) -> None:
    flags = ("--steps", 150, "--freeze-at", 75, "--first-update", 50, "--reset-heads-every", 50, "--eval-every", 50)
    assert seer("train", *FLAGS, *flags, "--out", tmp_path / "run") == 0
    kinds = [(r["step"], r["kind"]) for r in read_metrics(tmp_path / "run") if r["kind"] in ("eval", "reset")]
    assert kinds == [*((step, kind) for step in (50, 100) for kind in ("eval", "reset")), (150, "eval")]


def test_no_update_of_a_step_goes_unwatched() -> None:
    invariants = Invariants()
    for loss in (1.0, math.nan, 1.0):
        invariants.on_update(7, {"loss": torch.tensor(loss)})
    with pytest.raises(RunError, match="in the update of step 7 loss is nan"):
        invariants.check_losses()
    invariants.check_losses()


def test_the_newest_losses_are_numbers_that_a_checkpoint_keeps() -> None:
    invariants, resumed = Invariants(), Invariants()
    for loss in (3.0, 2.0):
        invariants.on_update(7, {"loss": torch.tensor(loss)})
    invariants.check_losses()
    resumed.load_state_dict(json.loads(json.dumps(invariants.state_dict())))
    assert invariants.losses == resumed.losses == {"loss": 2.0}
    resumed.load_state_dict({"frozen": None})  # as older checkpoints have it
    assert resumed.losses == {}


def test_a_run_that_is_called_finished_has_its_last_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up behind the summary, where only the agent's checkpoint is left to write."""
    folder, save = tmp_path / "run", saving.save_checkpoint

    def full(root: Path, step: int, parts: Any, *, keep: int = 2, before: Path | None = None) -> Path:
        if keep == 1:
            raise SettingError("no space")
        return save(root, step, parts, before=before)

    monkeypatch.setattr(saving, "save_checkpoint", full)
    flags = ("--steps", 150, "--freeze-at", 100, "--first-update", 50, "--eval-every", 150)
    assert seer("train", *FLAGS, *flags, "--out", folder) == 2
    assert (folder / "summary.json").exists()
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000150"
