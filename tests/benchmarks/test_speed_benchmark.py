"""benchmarks/speed.py on the real environments: its rows, its ratios, its files, and that a slower agent shows."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import speed
from drawing import needs_drawing, without_shadows
from played import fill_buffer
from sb3_rows import make_model
from seer.core.phase import Phase
from timing import interleave

ROWS = (
    *("update/frames", "update/latents", "act", "act/latents", "encode", "sample", "sample/latents", "transcode"),
    *("forward", "step", "loop/frames", "loop/latents"),
)
PEER_ROWS = ("update", "act", "sample", "loop")
PEERS = {
    "update/frames": "update", "update/latents": "update", "act": "act", "act/latents": "act",
    "sample": "sample", "sample/latents": "sample", "loop/frames": "loop", "loop/latents": "loop",
}  # fmt: skip
RATIOS = {
    "rainbow": [("update/frames", "update"), ("update/latents", "update"), ("act", "act"), ("transcode", "forward")],
    "curl": [("update/frames", "update"), ("update/latents", "update"), ("transcode", "forward")],
}


def check_rows(content: dict[str, Any], agent: str, peer: str) -> None:
    rows = {row["name"]: row for row in content["rows"]}
    assert list(rows) == [f"{agent}/{row}" for row in ROWS] + [f"{peer}/{row}" for row in PEER_ROWS]
    for name, row in rows.items():
        lower, upper = row["quartiles"]
        assert 0 < lower <= row["milliseconds"] <= upper
        other = PEERS.get(name.removeprefix(f"{agent}/")) if name.startswith(agent) else None
        expected = other and pytest.approx(row["milliseconds"] / rows[f"{peer}/{other}"]["milliseconds"])
        assert row["ratio_to_peer"] == expected
    for ratio, (ours, other) in zip(content["ratios"].values(), RATIOS[agent], strict=True):
        below = rows[f"{agent if other == 'forward' else peer}/{other}"]
        assert ratio == pytest.approx(rows[f"{agent}/{ours}"]["milliseconds"] / below["milliseconds"])


def test_the_command_measures_rainbow_and_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, file = tmp_path / "page.md", tmp_path / "speed.json"
    page.write_text(f"above\n{speed.BEGIN}\nold\n{speed.END}\nbelow\n")
    flags = ("--agents", "rainbow", "--quick", "--threads", "1", "--json", str(file), "--markdown", str(page))
    speed.main(flags)
    content = json.loads(file.read_text())
    check_rows(content, "rainbow", "sb3-dqn")
    assert content["machine"]["threads"] == {"rainbow": 1}
    assert {"seer-rl", "torch", "stable-baselines3"} <= content["versions"].keys()
    printed = capsys.readouterr().out.strip()
    assert page.read_text() == f"above\n{speed.BEGIN}\n{printed}\n{speed.END}\nbelow\n"
    assert all(f"| {name} " in printed for name in (*(row["name"] for row in content["rows"]), *content["ratios"]))
    assert content["machine"]["processor"] in printed


@pytest.fixture(scope="module")
def rainbow() -> Iterator[speed.Subject]:
    config = speed.speed_config("rainbow", speed.QUICK, device="cpu", threads=1)
    with speed.prepared(config, speed.QUICK) as made:
        yield made


@pytest.fixture(scope="module")
def curl() -> Iterator[speed.Subject]:
    needs_drawing()
    config = speed.speed_config("curl", speed.QUICK, device="cpu", threads=1)
    with without_shadows(), speed.prepared(config, speed.QUICK) as made:
        yield made


@pytest.mark.slow
def test_every_row_of_curl(curl: speed.Subject) -> None:
    check_rows(speed.report_of([curl.config], speed.measure(curl)), "curl", "sb3-sac")


def test_the_two_runs_are_before_and_after_the_freeze(rainbow: speed.Subject) -> None:
    before, after = rainbow.before.run, rainbow.after.run
    assert before.agent.phase is Phase.FRAMES
    assert after.agent.phase is Phase.LATENTS
    assert after.replay.holds_latents
    assert before.replay.size == rainbow.of(speed.QUICK.rows)
    assert len(torch.unique(before.replay.sample(8).now)) > 5  # a game's picture, not one colour


@pytest.mark.parametrize(("agent", "steps"), [("rainbow", 1), ("curl", 2)])
@pytest.mark.parametrize("phase", ["frames", "latents"])
def test_the_loop_is_the_training_loop(agent: str, steps: int, phase: str, request: pytest.FixtureRequest) -> None:
    """CURL's steps are timed in pairs, as its actor learns in every second one."""
    subject: speed.Subject = request.getfixturevalue(agent)
    run = (subject.before if phase == "frames" else subject.after).run
    before = (run.step, run.agent.updates, run.replay.size)
    (loop,) = (each for each in speed.seer_rows(subject) if each.name == f"{agent}/loop/{phase}")
    loop.call()
    assert loop.units == steps
    assert (run.step, run.agent.updates, run.replay.size) == tuple(figure + steps for figure in before)
    (update,) = (each for each in speed.seer_rows(subject) if each.name == f"{agent}/update/{phase}")
    update.call()
    assert update.units == steps
    assert (run.step, run.agent.updates) == (before[0] + steps, before[1] + 2 * steps)


def test_the_conversion_starts_from_frames_each_time(rainbow: speed.Subject) -> None:
    (row,) = (each for each in speed.seer_rows(rainbow) if each.name == "rainbow/transcode")
    encode, seen = rainbow.after.run.agent.encode, 0

    def counting(frames: torch.Tensor) -> Any:
        nonlocal seen
        seen += len(frames)
        return encode(frames)

    with patch.object(rainbow.after.run.agent, "encode", counting):
        row.call()
        row.call()
    assert seen == 2 * row.units == 2 * rainbow.of(speed.QUICK.converted)


def test_a_slower_update_shows_where_updates_are_timed_and_nowhere_else(rainbow: speed.Subject) -> None:
    agent = rainbow.before.run.agent
    update = agent.update

    def slow(batch: Any) -> Any:
        time.sleep(0.25)
        return update(batch)

    names = ("update/frames", "loop/frames", "act", "update/latents")
    rows = [row for row in speed.seer_rows(rainbow) if row.name.removeprefix("rainbow/") in names]
    with patch.object(agent, "update", slow):
        found = interleave(rows, rounds=2, slice_seconds=0.0, threads=1)
    slower = {name for name in names if min(found[f"rainbow/{name}"].times) >= 0.25}
    assert slower == {"update/frames", "loop/frames"}


@pytest.mark.parametrize("agent", ["rainbow", "curl"])
def test_the_peer_has_our_encoder_and_real_data(agent: str, request: pytest.FixtureRequest) -> None:
    subject: speed.Subject = request.getfixturevalue(agent)
    config, run = subject.config, subject.before.run
    model: Any = make_model(config, run.environment, rows=30)
    fill_buffer(model.replay_buffer, subject.recording, stack=config.image.stack, view_size=config.view_size)
    assert model.replay_buffer.full
    sampled = model.replay_buffer.sample(8).observations
    assert sampled.dtype == torch.uint8
    assert sampled.shape[-1] == config.view_size
    assert len(torch.unique(sampled)) > 5
    encoder = model.q_net.features_extractor if agent == "rainbow" else model.critic.features_extractor
    with FlopCounterMode(display=False) as counted:
        features = encoder(torch.zeros(1, *sampled.shape[1:]))
    ours = run.agent.online.encoder
    assert features.shape[1] == ours.output_size
    cost = run.agent.cost.encoder.multiply_adds
    if agent == "curl":  # ours counts the actor's projection too
        cost -= ours.stages[-1].multiply_adds() // 2
        assert model.critic.features_extractor is not model.actor.features_extractor
    assert counted.get_total_flops() == 2 * cost


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--agents", "ppo"], "'ppo'"),
        (["--json", "nowhere/speed.json"], "--json nowhere/speed.json"),
        (["--markdown", "there.md"], "--markdown there.md"),
    ],
)
def test_a_mistake_is_said_before_anything_is_measured(
    flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.md").write_text("mine\n")
    with pytest.raises(SystemExit) as stop:
        speed.main(flags)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err.splitlines()[-1]
    assert Path("there.md").read_text() == "mine\n"
