"""Another run's encoder, frozen from the first step: whose weights, what is stored, what it costs, what is refused."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from refusing import Capture
from seer.agents.agent import Agent
from seer.config import Config, config_to_json
from seer.errors import SettingError
from seer.presets import preset
from seer.replay import RowFormat
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from seer.runs.folder import RunFolder, read_metrics
from seer.runs.snapshots import list_snapshots, save_snapshot
from seer.training.build_agent import build_agent
from seer.training.build_replay import replay_bytes
from seer.training.transfer import adopt_encoder
from tiny_run import config_of, seer, stop_in_step

Record = dict[str, Any]
STEPS, FIRST_UPDATE, BATCH, HIDDEN, ACTIONS, ATOMS, CAPACITY = 400, 300, 8, 16, 18, 51, 100
FLAGS = (
    *("--env", "ALE/RoadRunner-v5", "--steps", STEPS, "--first-update", FIRST_UPDATE, "--batch-size", BATCH),
    *("--hidden-units", HIDDEN, "--replay-capacity", CAPACITY, "--eval-every", STEPS, "--eval-episodes", 1),
    *("--log-every", 50, "--probe-every", 100, "--probe-size", 50, "--max-episode-steps", 100, "--device", "cpu"),
)
ENCODER = {1: 819_200, 2: 1_280_000}  # multiply-adds of the frozen layers
HEADS = 2 * 576 * HIDDEN + HIDDEN * ACTIONS * ATOMS + HIDDEN * ATOMS


@pytest.fixture(scope="module")
def transferred(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer") / "run"
    assert seer("train", *FLAGS, "--encoder-from", finished_run, "--out", folder) == 0
    return folder


def encoder_of(run: Path) -> dict[str, torch.Tensor]:
    modules = load_checkpoint(latest_checkpoint(run / "checkpoints"))["agent"]["modules"]
    return {name: value for name, value in modules["online"].items() if name.startswith("encoder.")}


def test_the_encoder_is_the_other_runs_to_the_last_bit(finished_run: Path, transferred: Path) -> None:
    theirs, ours = encoder_of(finished_run), encoder_of(transferred)
    assert theirs.keys() == ours.keys()
    assert len(ours) == 4
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_no_frame_is_ever_stored_and_nothing_is_converted(transferred: Path, finished_run: Path) -> None:
    records, summary = read_metrics(transferred), json.loads((transferred / "summary.json").read_text())
    (freeze,) = [record for record in records if record["kind"] == "freeze"]
    assert (freeze["step"], freeze["rows"], freeze["flops"]) == (0, 0, 0)
    assert summary["freeze"] == {
        "mode": "step", "step": 0, "reason": f"encoder of {finished_run}", "similarity": None,
    }  # fmt: skip
    assert summary["flops"]["freeze"] == 0
    # 100 frames' bytes hold 306 latents: all 306 of the newest, from the first step on, and no fewer.
    assert summary["replay"]["bytes"] == CAPACITY * 7056
    assert summary["replay"]["size"] == summary["replay"]["capacity_after"] == CAPACITY * 7056 // 2304
    sizes = {record["step"]: record["replay_size"] for record in records if record["kind"] == "train"}
    assert [sizes[step] for step in (50, 150, 300)] == [50, 150, 300]


def test_without_a_setting_there_is_room_for_all_that_a_run_stores() -> None:
    """Frames until the freeze, then latents of all steps, and a sixteenth more; at most the frames of all steps."""
    frame, latent = RowFormat((3, 100, 100), torch.uint8), RowFormat((4, 2, 50), torch.float32)

    def room(steps: int = 250_000, *, at: str = "0", capacity: int | None = None, latent: RowFormat = latent) -> int:
        config = preset("dm_control/walker-walk-v0", transfer=True)
        config = dataclasses.replace(
            config, steps=steps, freeze=dataclasses.replace(config.freeze, at=at),
            replay=dataclasses.replace(config.replay, capacity=capacity),
        )  # fmt: skip
        return replay_bytes(config, frame, latent)

    assert room() == room(at="10000") == 250_000 * 1600 * 17 // 16
    assert room(at="60000") == 60_000 * 30_000 * 17 // 16
    assert room(at="249999") == room(at="never") == room(at="auto") == 250_000 * 30_000
    assert room(capacity=1000) == 1000 * 30_000
    assert room(latent=RowFormat((40_000,), torch.float32)) == 250_000 * 30_000
    assert room(steps=1000) == (128 + 1) * 30_000  # a batch and a step


@pytest.mark.parametrize("flag", ["--encoder-from", "--encoder_from"])
@pytest.mark.parametrize("joined", [False, True])
def test_another_runs_encoder_is_frozen_from_the_start(flag: str, joined: bool) -> None:
    given = [f"{flag}=a_run"] if joined else [flag, "a_run"]
    config = config_of(["--env", "ALE/Pong-v5", *given])
    assert (config.freeze.at, config.freeze.encoder_from) == ("0", "a_run")


def test_flops_are_those_of_latents_from_the_first_step(transferred: Path) -> None:
    for record in read_metrics(transferred):
        if record["kind"] == "train":
            step = record["step"]
            updates = max(0, step - FIRST_UPDATE + 1)
            assert record["flops"] == step * (2 * ENCODER[2] + HEADS) + updates * 5 * BATCH * HEADS


def test_guards_start_when_there_is_something_to_compare_with(transferred: Path) -> None:
    guards = [record["step"] for record in read_metrics(transferred) if record["kind"] == "guard"]
    assert guards == [200, 300, 400]  # the probe at 100 is the first with 50 observations


def test_it_resumes_without_the_other_run(transferred: Path, finished_run: Path, tmp_path: Path) -> None:
    """To the same figures, from a checkpoint before the first update; the source has gone."""
    source, folder = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    for part in ("config.json", "checkpoints"):
        (source / part).symlink_to(finished_run / part)
    import signal

    assert stop_in_step(250, "train", *FLAGS, "--encoder-from", source, "--out", folder, signal=signal.SIGTERM) == 130
    source.rename(tmp_path / "gone")
    assert seer("resume", folder) == 0
    keep = {"kind", "step", "flops", "loss", "q_mean", "replay_size", "feature_distance", "effective_rank", "mean"}
    figures = [
        [{name: record[name] for name in keep & record.keys()} for record in read_metrics(path)]
        for path in (folder, transferred)
    ]
    assert figures[0] == figures[1]


@pytest.mark.slow
def test_fewer_layers_can_be_frozen(finished_run: Path, tmp_path: Path, capsys: Capture) -> None:
    """One layer's maps would be larger than a frame, so frames are kept; the other layer goes on learning."""
    flags = ("--encoder-from", finished_run, "--freeze-layers", 1, "--out", tmp_path / "run")
    assert seer("train", *FLAGS, *flags) == 0
    assert "would be larger than a frame" in capsys.readouterr().out
    theirs, ours = encoder_of(finished_run), encoder_of(tmp_path / "run")
    same = [name for name in ours if torch.equal(theirs[name], ours[name])]
    assert same == ["encoder.stages.0.weight", "encoder.stages.0.bias"]
    (last,) = [r for r in read_metrics(tmp_path / "run") if r["kind"] == "train" and r["step"] == STEPS]
    above = ENCODER[2] - ENCODER[1] + HEADS
    assert last["flops"] == STEPS * (ENCODER[2] + HEADS) + 101 * BATCH * (2 * ENCODER[1] + 5 * above)


@pytest.mark.slow
def test_an_encoder_from_elsewhere_can_also_go_on_learning(finished_run: Path, tmp_path: Path) -> None:
    flags = ("--encoder-from", finished_run, "--freeze-at", 380, "--out", tmp_path / "run")
    assert seer("train", *FLAGS, *flags) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["freeze"]["step"], summary["freeze"]["reason"]) == (380, "given step")
    theirs, ours = encoder_of(finished_run), encoder_of(tmp_path / "run")
    assert not any(torch.equal(theirs[name], ours[name]) for name in ours)


# Without training: every kind of encoder, and what doesn't fit -----------------------------------------------------


def make(config: Config, seed: int) -> Agent[Any]:
    discrete = config.env.startswith("ALE")
    space = gymnasium.spaces.Discrete(4) if discrete else gymnasium.spaces.Box(-1, 1, (2 + seed,), np.float32)
    frame = (1 if discrete else 3, config.image.size, config.image.size)
    environment: Any = SimpleNamespace(packing=None, frame_shape=frame, stack=config.image.stack, action_space=space)
    return build_agent(config, environment, torch.device("cpu"), [seed, 1, 2, 3])


def control(task: str, agent: Any = "curl", **learning: Any) -> Config:
    config = preset(f"dm_control/{task}-v0", agent, transfer=True)
    small = {"batch_size": 8, "hidden_units": 32} | learning
    return dataclasses.replace(
        config, image=dataclasses.replace(config.image, size=60, crop_size=50),
        learning=dataclasses.replace(config.learning, **small),
    )  # fmt: skip


def atari(game: str, **learning: Any) -> Config:
    config = preset(f"ALE/{game}-v5", transfer=True)
    return dataclasses.replace(config, learning=dataclasses.replace(config.learning, hidden_units=16, **learning))


def from_run(config: Config, source: Path, layers: str = "all") -> Config:
    freeze = dataclasses.replace(config.freeze, encoder_from=str(source), layers=layers)
    return dataclasses.replace(config, freeze=freeze)


def save(config: Config, agent: Agent[Any], folder: Path) -> Path:
    RunFolder.create(folder, config_to_json(config)).close()
    save_checkpoint(folder / "checkpoints", 1234, {"agent": agent.state_dict()})
    return folder


@pytest.mark.parametrize("layers", ["1", "all"])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (control("walker-stand"), control("walker-walk")),
        (control("walker-stand"), control("hopper-hop", agent="sac", hidden_units=48)),
        (control("walker-stand", encoder="impala"), control("walker-walk", encoder="impala")),
        (atari("Alien"), atari("Qbert")),
        (atari("Alien", encoder="canonical"), atari("Qbert", encoder="canonical")),
        (atari("Alien", encoder="impala"), atari("Qbert", encoder="impala")),
    ],
    ids=["task", "domain", "impala", "data-efficient", "canonical", "impala on Atari"],
)
def test_every_encoder_can_be_handed_on(theirs: Config, ours: Config, layers: str, tmp_path: Path) -> None:
    source, agent = make(theirs, seed=1), make(from_run(ours, tmp_path, layers), seed=2)
    heads = [value.clone() for value in agent.online.head.state_dict().values()]
    assert adopt_encoder(agent, from_run(ours, save(theirs, source, tmp_path / "run"), layers)) == 1234
    for network in (agent.online, agent.target):
        for name, value in network.encoder.state_dict().items():
            assert torch.equal(value, source.online.encoder.state_dict()[name])
    assert all(map(torch.equal, heads, agent.online.head.state_dict().values()))
    assert all(
        p.is_contiguous(memory_format=torch.channels_last) for p in agent.online.encoder.parameters() if p.dim() == 4
    )


def test_a_snapshot_will_do(tmp_path: Path) -> None:
    """A run's encoder as it was on the way: for the length of pretraining (SEER, figure 10)."""
    theirs = control("walker-stand")
    early, late = make(theirs, seed=1), make(theirs, seed=2)
    folder = save(theirs, late, tmp_path / "run")
    save_snapshot(folder, 500, early)
    agent = make(from_run(theirs, folder), seed=3)
    assert adopt_encoder(agent, from_run(theirs, list_snapshots(folder)[500])) == 500
    assert all(map(torch.equal, agent.online.encoder.parameters(), early.online.encoder.parameters()))


@pytest.mark.parametrize(
    ("theirs", "ours", "named"),
    [
        (atari("Alien"), control("walker-walk"), ["RGB", "grey", "--encoder: data-efficient there, sac-ae here"]),
        (atari("Alien"), atari("Alien", encoder="canonical"), ["--encoder: data-efficient there, canonical here"]),
        (atari("Alien"), dataclasses.replace(atari("Alien"), image=dataclasses.replace(atari("Alien").image, stack=2)),
         ["--frame-stack: 4 there, 2 here"]),
        (atari("Alien"), dataclasses.replace(atari("Alien"), image=dataclasses.replace(atari("Alien").image, size=42)),
         ["pixels it sees: 84 there, 42 here"]),
        (control("walker-stand"), dataclasses.replace(
            control("walker-walk"), sac=dataclasses.replace(control("walker-walk").sac, latent_size=20)),
         ["--latent-size: 50 there, 20 here"]),
    ],
    ids=["domain", "architecture", "stack", "size", "latent"],
)  # fmt: skip
def test_an_encoder_that_does_not_fit_is_refused(
    theirs: Config, ours: Config, named: list[str], tmp_path: Path
) -> None:
    folder = save(theirs, make(theirs, seed=1), tmp_path / "run")
    agent = make(ours, seed=2)
    before = [value.clone() for value in agent.online.encoder.state_dict().values()]
    with pytest.raises(SettingError, match=r"--encoder-from .*doesn't fit") as caught:
        adopt_encoder(agent, from_run(ours, folder))
    assert all(name in str(caught.value) for name in named)
    assert "\n" not in str(caught.value)
    assert all(map(torch.equal, before, agent.online.encoder.state_dict().values()))


def test_settings_that_lie_about_the_weights_are_noticed(tmp_path: Path) -> None:
    config = atari("Alien")
    folder = save(
        config, make(dataclasses.replace(config, image=dataclasses.replace(config.image, stack=2)), 1), tmp_path / "r"
    )
    with pytest.raises(SettingError, match=r"stages.0.weight: \(32, 2, 5, 5\) there, \(32, 4, 5, 5\) here"):
        adopt_encoder(make(config, seed=2), from_run(config, folder))


@pytest.mark.parametrize("name", ["nothing", "empty", "file", "snapshots/best.safetensors"])
def test_what_is_no_run_is_refused_before_any_work(name: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no run")
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "best.safetensors").write_bytes(b"")
    out = tmp_path / "out"
    assert seer("train", *FLAGS, "--encoder-from", tmp_path / name, "--out", out) == 2
    said = capsys.readouterr().err
    assert "--encoder-from" in said
    assert name in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_without_an_encoder_nothing_can_be_frozen_at_0(capsys: Capture) -> None:
    assert seer("train", *FLAGS, "--freeze-at", 0) == 2
    assert "--encoder-from" in capsys.readouterr().err
