"""`seer bench`: what is timed, how it is interleaved, what the floors count, and what is written."""

import dataclasses
import json
import os
import sys
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.image
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seer.bench import scaling
from seer.bench.bench import _peer_probes, measure
from seer.bench.ceilings import Ceiling, convolutions
from seer.bench.floors import Counter, Work
from seer.bench.peers import fill_buffer, make_model
from seer.bench.report import BEGIN, END, Report, _beside, busy_warnings, write_markdown
from seer.bench.rows import _loop, _overhead, counter, row_probes
from seer.bench.subject import Subject, bench_config, kind, prepared, stand_in
from seer.bench.targets import judge
from seer.bench.timing import Plan, Probe, Timing, interleave, no_progress
from seer.config import AgentName, Config
from seer.core.flops import NO_PASSES, Cost, Part, Passes
from seer.core.phase import Phase
from seer.envs.rendering import choose_backend
from seer.presets import preset
from seer.training.build import build
from tiny_run import seer

TINY = Plan(2, 1e-4, {"atari": 120, "control": 70}, {"atari": 60, "control": 10})
ROW_KEYS = ["name", "milliseconds", "floor_milliseconds", "ratio_to_floor", "ratio_to_peer"]


def small(agent: AgentName) -> Config:
    """The agent with few units and small batches; SAC and CURL on small images too."""
    config = bench_config(agent, TINY, device="cpu", threads=1)
    # Direct convolutions, whatever this machine takes: PyTorch's counter sees them as such, with their rim.
    learning = dataclasses.replace(config.learning, batch_size=8, hidden_units=32, convolution="direct")
    image = config.image
    if kind(config) == "control":
        image = dataclasses.replace(image, size=50, crop_size=42)
    return dataclasses.replace(config, learning=learning, image=image)


@pytest.fixture(scope="module")
def rainbow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with prepared(small("rainbow"), TINY, tmp_path_factory.mktemp("rainbow"), no_progress) as subject:
        yield subject


@pytest.fixture(scope="module")
def _nothing_draws() -> Iterator[None]:
    """As on a machine without OpenGL: this backend needs a screen."""
    choose_backend.cache_clear()
    with patch.dict(os.environ, {"MUJOCO_GL": "glfw"}):
        yield
    choose_backend.cache_clear()


@pytest.fixture(scope="module")
def curl(_nothing_draws: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with prepared(small("curl"), TINY, tmp_path_factory.mktemp("curl"), no_progress) as subject:
        yield subject


# Timing ----------------------------------------------------------------------------------------------------------


def test_every_round_has_a_slice_of_every_row() -> None:
    order: list[tuple[str, int]] = []

    def probe(name: str, **options: int) -> Probe:
        def take(calls: int) -> float:
            order.append((name, calls))
            return calls * 0.01

        return Probe(name, take, **options)

    probes = [probe("plain"), probe("pair", period=2), probe("many", size=5)]
    plan = dataclasses.replace(TINY, rounds=6, slice_seconds=0.05)
    timings = interleave(probes, plan, no_progress)
    slices = order[2 * len(probes) :]  # after two calls of each to warm up and to see how long it takes
    assert len(slices) == 6 * len(probes)
    rounds = [slices[start : start + len(probes)] for start in range(0, len(slices), len(probes))]
    assert all({name for name, _ in this} == {"plain", "pair", "many"} for this in rounds)
    assert len({tuple(name for name, _ in this) for this in rounds}) > 1  # no row is always behind the same one
    assert dict(slices) == {"plain": 5, "pair": 6, "many": 5}  # pairs stay whole
    assert timings["plain"].milliseconds == pytest.approx(10)
    assert timings["many"].milliseconds == pytest.approx(2)


def test_median_and_quartiles() -> None:
    seconds = iter([9.0, 9.0, *(0.001 * x for x in (5, 1, 4, 2, 3))])
    plan = dataclasses.replace(TINY, rounds=5)
    timing = interleave([Probe("row", lambda _calls: next(seconds))], plan, no_progress)["row"]
    assert (timing.lower, timing.milliseconds, timing.upper) == pytest.approx((2, 3, 4))


# What is measured ------------------------------------------------------------------------------------------------


def test_the_two_runs_are_before_and_after_the_freeze(rainbow: Subject) -> None:
    assert rainbow.frames.agent.phase is Phase.FRAMES
    assert rainbow.latents.agent.phase is Phase.LATENTS
    assert rainbow.latents.replay.holds_latents
    assert rainbow.frames.replay.size == TINY.rows["atari"]
    stored = rainbow.frames.replay.sample(8).now
    assert len(torch.unique(stored)) > 5  # a game's picture, not one colour


@pytest.mark.parametrize("half", ["before", "after"])
def test_the_loop_is_the_training_loop(rainbow: Subject, half: str) -> None:
    events = getattr(rainbow, half)
    run = events.run
    step, updates, size = run.step, run.agent.updates, run.replay.size
    assert _loop(events)(7) > 0
    assert (run.step, run.agent.updates, run.replay.size) == (step + 7, updates + 7, size + 7)


def test_the_overhead_is_the_loop_without_agent_and_environment(rainbow: Subject) -> None:
    run, calls = rainbow.frames, Tally[str]()
    real = run.agent.update

    def slow(batch: Any) -> Any:
        calls["update"] += 1
        torch.mm(torch.rand(700, 700), torch.rand(700, 700))
        return real(batch)

    with patch.object(run.agent, "update", slow):
        whole, overhead = _loop(rainbow.before)(10), _overhead(rainbow.before)(10)
    assert calls["update"] == 20
    assert 0 < overhead < whole / 2
    assert not {"update", "decide"} & vars(run.agent).keys()
    assert not {"step", "reset"} & vars(run.environment).keys()


def test_a_conversion_can_be_timed_again_and_again(rainbow: Subject) -> None:
    (probe,) = (probe for probe in row_probes(rainbow) if probe.name == "rainbow/transcode")
    assert probe.measure(3) > 0


# Floors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rainbow", "curl"])
def test_multiply_adds_against_pytorchs_counter(name: str, request: pytest.FixtureRequest) -> None:
    """The ledger counts gradients of pixels and of latents, which nobody makes, and no projections of returns."""
    subject: Subject = request.getfixturevalue(name)
    count, batch = counter(subject), subject.frames.schedule.batch_size
    for phase, run in ((Phase.FRAMES, subject.frames), (Phase.LATENTS, subject.latents)):
        works, cycle = count.update(phase), 2 if name == "curl" else 1
        sampled = run.replay.sample(batch)
        with FlopCounterMode(display=False) as real:
            for _ in range(cycle):
                run.agent.update(sampled)
        done = real.get_total_flops() / 2 / cycle
        assert 0.98 * done < works.convolved + works.multiplied < 1.2 * done
        by_sort = real.get_flop_counts()["Global"]
        convolved = sum(flops for op, flops in by_sort.items() if "convolution" in str(op)) / 2 / cycle
        assert convolved <= works.convolved <= 1.2 * convolved


@pytest.mark.parametrize("name", ["rainbow", "curl"])
def test_encoding_against_pytorchs_counter(name: str, request: pytest.FixtureRequest) -> None:
    subject: Subject = request.getfixturevalue(name)
    agent, observation = subject.latents.agent, subject.frames.environment.observe()
    noise = agent.online.head.multiply_adds() if name == "rainbow" else 0  # a product in a decision, but not counted
    for work, beside, call in (
        (counter(subject).encode(), 0, lambda: agent.encode(torch.from_numpy(observation[None]))),
        (counter(subject).act(Phase.LATENTS), noise, lambda: agent.decide(observation)),
    ):
        with FlopCounterMode(display=False) as real:
            call()
        assert real.get_total_flops() == 2 * (work.convolved + work.multiplied + beside)


def test_convolutions_are_the_encoders() -> None:
    """By hand: 16 x 16 x 32 of 5 x 5 x 4, then 3 x 3 x 64 of 5 x 5 x 32."""
    config = small("rainbow")
    layers = convolutions(build(config, stand_in(config)).agent, view_size=84, batch=3)
    assert [layer.multiply_adds for layer in layers] == [3 * 819_200, 3 * 460_800]


def test_bytes_by_hand(rainbow: Subject, curl: Subject) -> None:
    count, frame = counter(rainbow), 84 * 84
    assert count.sample(Phase.FRAMES).moved == 8 * (4 + 4 + 2 * 4) * frame  # n = 20: no frame in common
    assert count.sample(Phase.LATENTS).moved == 8 * 4 * 576 * 4
    assert counter(curl).sample(Phase.FRAMES).moved == 8 * (4 + 6) * 3 * 50 * 50  # n = 1: two frames in common
    assert counter(curl).sample(Phase.LATENTS).moved == 8 * 4 * 2 * 50 * 4
    for phase, run in ((Phase.FRAMES, rainbow.frames), (Phase.LATENTS, rainbow.latents)):
        before = [parameter.clone() for parameter in run.agent.online.parameters()]
        run.agent.update(run.replay.sample(8))
        pairs = zip(before, run.agent.online.parameters(), strict=True)
        learned = sum(new.numel() for old, new in pairs if not torch.equal(old, new))
        assert count.update(phase).moved == count.sample(phase).moved + 7 * 4 * learned


def test_a_floor_is_operations_over_rate_plus_bytes_over_bandwidth() -> None:
    ceilings = {
        name: Ceiling(name, rate, "")
        for name, rate in (
            ("convolution/float32", 1e9), ("convolution/bfloat16/channels-last", 4e9), ("matmul/float32/8x8x8", 2e9),
            ("matmul/bfloat16/8x8x8", 1e9), ("copy/parameters", 5e9), ("copy/replay", 1e9),
        )
    }  # fmt: skip
    assert Work(2e6, 3e6, 10e6).floor_milliseconds(ceilings) == pytest.approx(1 + 3 + 2)
    assert (Work(1, 2, 3) + Work(1, 2, 3)) == Work(2, 4, 6)


# Stable-Baselines3 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rainbow", "curl"])
def test_the_peer_has_our_encoder_and_real_data(name: str, request: pytest.FixtureRequest) -> None:
    subject: Subject = request.getfixturevalue(name)
    model: Any = make_model(subject.config, stand_in(subject.config), rows=50, device=torch.device("cpu"))
    fill_buffer(model, subject)
    assert model.replay_buffer.full
    sampled = model.replay_buffer.sample(8).observations
    ours = subject.frames.replay.sample(8).now
    assert sampled.dtype == ours.dtype == torch.uint8
    assert sampled.shape[-1] == subject.config.view_size
    assert len(torch.unique(sampled)) > 5
    encoder = model.critic.features_extractor if name == "curl" else model.q_net.features_extractor
    with FlopCounterMode(display=False) as theirs:
        features = encoder(torch.zeros(1, *sampled.shape[1:]))
    cost = subject.frames.agent.cost.encoder.multiply_adds
    actors_projection = 0
    if name == "curl":
        actors_projection = subject.frames.agent.online.encoder.stages[-1].multiply_adds() // 2
        assert model.critic.features_extractor is not model.actor.features_extractor
    assert theirs.get_total_flops() == 2 * (cost - actors_projection)
    assert features.shape[1] == subject.frames.agent.online.encoder.output_size
    model.train(gradient_steps=1, batch_size=8)


def test_without_stable_baselines3_its_rows_are_missing(rainbow: Subject) -> None:
    report = Report(torch.device("cpu"), {"rainbow": 1})
    with patch.dict(sys.modules, {"stable_baselines3": None}):
        sys.modules.pop("seer.bench.peers")
        assert _peer_probes(report, rainbow) == []
    assert "seer-rl[bench]" in report.missing["sb3"]


# The report ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a real command, with few and short slices."""
    folder = tmp_path_factory.mktemp("bench")
    with (
        patch("seer.bench.run.QUICK", TINY),
        patch.multiple(scaling, STORED=(200, 400), BATCHES={"atari": (4, 8)}),
    ):
        outputs = ("--json", folder / "bench.json", "--markdown", folder / "bench.md", "--scaling", folder / "s.png")
        assert seer("bench", "--agents", "rainbow", "--quick", "--threads", 1, "--device", "cpu", *outputs) == 0
    return folder


def test_the_json_has_the_agreed_rows(written: Path) -> None:
    content = json.loads((written / "bench.json").read_text())
    rows = {row["name"]: row for row in content["rows"]}
    assert all(list(row) == ROW_KEYS for row in content["rows"])
    wanted = "update/frames update/latents act sample transcode step encode loop/frames loop/latents overhead/latents"
    assert {f"rainbow/{name}" for name in wanted.split()} <= rows.keys()
    assert {"sb3-dqn/update", "sb3-dqn/act", "sb3-dqn/sample", "sb3-dqn/loop"} <= rows.keys()
    for name, row in rows.items():
        assert row["milliseconds"] > 0
        lower, upper = content["quartiles"][name]
        assert lower <= row["milliseconds"] <= upper
        if row["floor_milliseconds"] is not None:
            assert row["ratio_to_floor"] == pytest.approx(row["milliseconds"] / row["floor_milliseconds"])
    for phase in ("frames", "latents"):
        row = rows[f"rainbow/update/{phase}"]
        assert row["floor_milliseconds"] > 0
        assert row["ratio_to_peer"] == pytest.approx(row["milliseconds"] / rows["sb3-dqn/update"]["milliseconds"])
    assert rows["rainbow/step"]["floor_milliseconds"] is None
    assert rows["rainbow/transcode"]["ratio_to_peer"] is None
    assert content["missing"] == {}
    assert {"seer", "torch", "stable-baselines3", "ale-py"} <= content["versions"].keys()
    assert content["machine"]["threads"] == {"rainbow": 1}
    assert 0 < content["machine"]["processor_share"]["rainbow"] <= 1
    assert {c["unit"] for c in content["ceilings"].values()} == {"GFLOP/s", "GB/s"}
    assert all(ceiling["value"] > 0 for ceiling in content["ceilings"].values())
    assert {"rainbow/sample/frames over rows", "rainbow/update/frames over batch"} <= content["scaling"].keys()


def test_the_markdown_has_every_row_and_the_figure_is_a_picture(written: Path) -> None:
    content = json.loads((written / "bench.json").read_text())
    text = (written / "bench.md").read_text()
    assert text.startswith(BEGIN)
    assert text.rstrip().endswith(END)
    assert all(f"| {row['name']} |" in text for row in content["rows"])
    assert content["versions"]["torch"] in text
    picture = matplotlib.image.imread(written / "s.png")
    assert picture.shape[0] > 500
    assert np.std(picture) > 0.01


def test_markdown_between_the_marks_leaves_the_rest_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    report = Report(torch.device("cpu"), {"rainbow": 1}, timings={"rainbow/act": Timing(1.5, 1.0, 2.0)})
    for _ in range(2):
        write_markdown(report, page)
        text = page.read_text()
        assert text.startswith(f"above\n{BEGIN}\n")
        assert text.endswith(f"\n{END}\nbelow\n")
        assert "old" not in text
        assert text.count("| rainbow/act | 1.50 | 1.00 to 2.00 | 667 |") == 1


def test_a_busy_machine_is_told(tmp_path: Path) -> None:
    report = Report(torch.device("cpu"), {}, processor_share={"rainbow": 0.95, "curl": 0.6})
    (line,) = busy_warnings(report)
    assert "curl" in line
    assert "40%" in line
    write_markdown(report, tmp_path / "page.md")
    assert line in (tmp_path / "page.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("_nothing_draws")
def test_without_opengl_curl_is_measured_but_for_its_environment() -> None:
    report = measure({"curl": small("curl")}, TINY, scaling=False, progress=no_progress)
    content = report.as_json()
    names = {row["name"] for row in content["rows"]}
    assert {"curl/update/frames", "curl/update/latents", "curl/act", "curl/transcode", "sb3-sac/update"} <= names
    gone = {"curl/step", "curl/loop/frames", "curl/loop/latents", "sb3-sac/loop"}
    assert not gone & names
    assert gone <= content["missing"].keys()
    assert all("MUJOCO_GL" in reason or "dm_control" in reason for reason in content["missing"].values())
    assert json.loads(json.dumps(content, allow_nan=False))["rows"]


# Targets ---------------------------------------------------------------------------------------------------------


def report_of(milliseconds: dict[str, float], **fields: Any) -> Report:
    timings = {name: Timing(value, value, value) for name, value in milliseconds.items()}
    return Report(torch.device(fields.pop("device", "cpu")), {}, timings=timings, **fields)


def test_targets_are_met_missed_or_open(monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(
        {
            "rainbow/loop/frames": 2.0, "rainbow/overhead/frames": 0.3, "rainbow/loop/latents": 1.0,
            "rainbow/overhead/latents": 0.1, "rainbow/transcode": 1.2, "rainbow/forward": 1.0, "rainbow/step": 0.5,
            "rainbow/act/games": 2.0,
        },
        peer_ratios={"rainbow/update/frames": 0.84, "rainbow/update/latents": 0.41, "rainbow/act": 1.01},
        scaling={
            "rainbow/sample/frames over rows": [(10_000, 1.0), (100_000, 2.0)],
            "rainbow/sample/latents over rows": [(10_000, 1.0), (100_000, 0.9), (1_000_000, 1.4)],
        },
    )  # fmt: skip
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    found = {v.target: v for v in judge(report, {"rainbow": preset("ALE/Alien-v5")})}
    words = [(v.measured and round(v.measured, 3), v.word) for v in found.values()]
    minutes = (50_000 * (2.0 + 1.2) + 450_000 * 1.0) / 60e3
    assert words == [
        (0.84, "met"), (0.41, "missed"), (1.01, "missed"), (0.15, "missed"), (0.1, "met"), (None, "open"),
        (1.556, "missed"), (1.2, "met"), (round(minutes, 3), "open"),
    ]  # fmt: skip
    assert all(v.note for v in found.values() if v.met is None)


def test_a_whole_run_of_curl_counts_its_evaluations() -> None:
    rows = {"loop/frames": 100.0, "loop/latents": 10.0, "transcode": 2.0, "step": 5.0, "act/games": 8.0}
    report = report_of({f"curl/{name}": value for name, value in rows.items()})
    (verdict,) = (v for v in judge(report, {"curl": preset("dm_control/cartpole-swingup-v0")}) if "minutes" in v.target)
    evaluations = 32 * 125 * (10 * 5.0 + 8.0)
    assert verdict.measured == pytest.approx((10_000 * 102 + 70_000 * 10 + evaluations) / 60e3)
    assert verdict.met is True


def test_targets_of_the_cpu_say_nothing_of_a_gpu() -> None:
    report = report_of({}, peer_ratios={"rainbow/update/frames": 0.1}, device="meta")
    assert {v.met for v in judge(report, {"rainbow": preset("ALE/Alien-v5")})} == {None}


# Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--agents", "ppo"], ["--agents", "ppo"]),
        (["--threads", "0"], ["--threads 0"]),
        (["--json", "there.json"], ["--json there.json", "exists"]),
        (["--json", "nowhere/bench.json"], ["--json", "nowhere/bench.json"]),
        (["--markdown", "there.md"], ["--markdown there.md", BEGIN]),
        (["--scaling", "figure.txt"], ["--scaling figure.txt", ".png"]),
        (["--device", "cuda:9"], ["--device cuda:9"]),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_measured(
    flags: list[str],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("{}")
    Path("there.md").write_text("mine\n")
    assert seer("bench", *flags) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert output.out == ""
    assert all(part in line for part in said)
    assert Path("there.md").read_text() == "mine\n"


def test_a_counter_adds_the_paper_s_terms() -> None:
    """b F M + 2 b B M of everything, the convolutions' share apart."""
    cost = Cost(
        Part(100, {Phase.FRAMES: Passes(3, 1), Phase.LATENTS: NO_PASSES}),
        (Part(10, dict.fromkeys((Phase.FRAMES, Phase.LATENTS), Passes(2, 1))),),
        batch_size=4,
        crops=2,
    )
    phases = (Phase.FRAMES, Phase.LATENTS)
    count = Counter(cost, 70, dict.fromkeys(phases, 5), acting=1, encoding=2, sampled_bytes=dict.fromkeys(phases, 6))
    assert count.update(Phase.FRAMES) == Work(4 * 5 * 70, 4 * 5 * 30 + 4 * 4 * 10, 7 * 4 * 5 + 4 * 6)
    assert count.update(Phase.LATENTS) == Work(0, 4 * 4 * 10, 7 * 4 * 5 + 4 * 6)
    assert count.encode() == Work(2 * 70, 2 * 30, 8)
    assert count.act(Phase.FRAMES) == Work(70, 40, 4)
    assert count.act(Phase.LATENTS) == Work(3 * 70, 3 * 30 + 10, 4)
    assert count.transcode(frame_bytes=3, latent_bytes=4) == Work(140, 60, 7)


@pytest.mark.parametrize(
    ("measured", "shown"),
    [(0.10004, "0.10004"), (0.0714, "0.0714"), (0.1, "0.100"), (None, ""), (1 / 9.999, "0.10001"), (25.0, "25.0")],
)
def test_a_target_shows_on_which_side_of_it_a_number_lies(measured: float | None, shown: str) -> None:
    assert _beside(0.1, measured) == shown
