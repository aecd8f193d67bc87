"""The measurement from first to last: one agent after the other, all rows of one interleaved."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from seer.bench.ceilings import ceiling_probes, rates
from seer.bench.floors import FLOAT, learned_numbers
from seer.bench.report import Report
from seer.bench.rows import floors, missing_rows, row_probes
from seer.bench.scaling import measure_scaling
from seer.bench.subject import Subject, prepared, stand_in
from seer.bench.targets import judge
from seer.bench.timing import Plan, Probe, Progress, interleave
from seer.config import Config
from seer.presets import preset
from seer.training.build_environment import build_environment
from seer.training.computing import pick_device


def measure(configs: Mapping[str, Config], plan: Plan, *, scaling: bool, progress: Progress) -> Report:
    """Everything about these agents, with its verdicts. `configs` as `bench_config` makes them."""
    device = pick_device(next(iter(configs.values())).device)
    report = Report(device, threads={agent: config.threads or 1 for agent, config in configs.items()})
    threads_before = torch.get_num_threads()
    try:
        for agent, config in configs.items():
            torch.set_num_threads(report.threads[agent])
            with (
                tempfile.TemporaryDirectory(prefix="seer-bench-") as scratch,
                prepared(config, plan, Path(scratch), progress) as subject,
            ):
                measure_agent(report, subject, plan, progress)
            if scaling:
                report.scaling |= measure_scaling(config, plan, progress)
    finally:
        torch.set_num_threads(threads_before)
    papers = {agent: preset(config.env, agent) for agent, config in configs.items()}
    report.targets = judge(report, papers)
    return report


def measure_agent(report: Report, subject: Subject, plan: Plan, progress: Progress) -> None:
    """Its ceilings, its rows and its peer's, in one interleaved row of rounds."""
    agent = subject.frames.agent
    works = ceiling_probes(
        agent, view_size=subject.config.view_size, learned_bytes=FLOAT * learned_numbers(agent), device=subject.device
    )
    peers = _peer_probes(report, subject)
    probes = [*works, *row_probes(subject), *peers]
    wall, busy = time.perf_counter(), time.process_time()
    timings = interleave(probes, plan, progress)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    report.processor_share[subject.agent] = min(1.0, busy / wall)
    ceilings = rates(timings, works)
    report.ceilings |= {f"{subject.agent}/{name}": ceiling for name, ceiling in ceilings.items()}
    report.timings |= {name: timing for name, timing in timings.items() if name not in ceilings}
    report.floors |= floors(subject, timings, ceilings)
    report.missing |= missing_rows(subject)
    if peers:
        from seer.bench.peers import ratios

        report.peer_ratios |= ratios({name: timing.milliseconds for name, timing in timings.items()}, subject)


def _peer_probes(report: Report, subject: Subject) -> list[Probe]:
    """The rows of Stable-Baselines3, where it is installed."""
    try:
        from seer.bench.peers import peer_name, peer_probes
    except ImportError:
        report.missing["sb3"] = "Stable-Baselines3 isn't installed: pip install 'seer-rl[bench]'"
        return []
    config = subject.config
    environment = stand_in(config) if subject.missing else build_environment(config, training=True)
    if subject.missing:
        report.missing[f"{peer_name(subject)}/loop"] = subject.missing
    return peer_probes(subject, environment)
