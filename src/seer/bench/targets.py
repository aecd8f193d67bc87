"""What is asked of the CPU, and whether the measured rows answer it."""

from collections.abc import Mapping

import torch

from seer.bench.report import Report, Verdict
from seer.bench.rows import EVALUATION_GAMES
from seer.config import Config

PEER_LIMITS = {
    "rainbow/update/frames": (0.85, 0.85),
    "rainbow/update/latents": (0.40, 0.35),
    "rainbow/act": (1.0, 1.0),
    "curl/update/frames": (0.40, 0.70),
    "curl/update/latents": (0.018, 0.022),
}
"""Time over that of Stable-Baselines3's row, which does less: with AVX-512; without, where convolutions are slow."""

OVERHEAD_LIMIT = 0.10
"""Of a training step: all that is neither `agent.update`, `agent.decide` nor the environment."""

CONVERSION_LIMIT = 1.3
"""Of the encoder's forward pass over the same rows."""

SAMPLING_LIMIT, SAMPLING_RANGE = 1.5, (10_000, 1_000_000)
"""Slowest over fastest, from the first to the last number of stored rows."""

RUN_LIMITS = {"rainbow": 20.0, "curl": 40.0}
"""Minutes of the paper's whole run, evaluation included."""


def judge(report: Report, configs: Mapping[str, Config]) -> list[Verdict]:
    """Every target of the agents that were measured."""
    wide = torch.cpu.get_capabilities().get("avx512_f", False)
    limits = {name: with_avx512 if wide else without for name, (with_avx512, without) in PEER_LIMITS.items()}
    found = [_peer(report, name, limit) for name, limit in limits.items() if name.split("/")[0] in configs]
    for agent, config in configs.items():
        found += [_overhead(report, agent, phase) for phase in ("frames", "latents")]
        found += [_sampling(report, agent, phase) for phase in ("frames", "latents")]
        found.append(_conversion(report, agent))
        if agent in RUN_LIMITS:
            found.append(_whole_run(report, agent, config))
    if report.device.type == "cpu":
        return found
    note = "the targets are the CPU's"
    return [Verdict(v.target, v.limit, v.measured, None, note) for v in found]


def _verdict(target: str, limit: float, measured: float | None, why_not: str, note: str = "") -> Verdict:
    if measured is None:
        return Verdict(target, limit, None, None, why_not)
    return Verdict(target, limit, measured, measured <= limit, note)


def _peer(report: Report, name: str, limit: float) -> Verdict:
    target = f"{name}, share of Stable-Baselines3's {name.split('/')[1]}"
    return _verdict(target, limit, report.peer_ratios.get(name), "needs pip install 'seer-rl[bench]'")


def _milliseconds(report: Report, *names: str) -> list[float] | None:
    """Of these rows, if all were measured."""
    found = [report.timings[name].milliseconds for name in names if name in report.timings]
    return found if len(found) == len(names) else None


def _overhead(report: Report, agent: str, phase: str) -> Verdict:
    rows = _milliseconds(report, f"{agent}/overhead/{phase}", f"{agent}/loop/{phase}")
    share = rows[0] / rows[1] if rows else None
    target = f"{agent}, {phase}: loop overhead, share of a training step"
    return _verdict(target, OVERHEAD_LIMIT, share, "needs the environment", "sampling and priorities count as overhead")


def _sampling(report: Report, agent: str, phase: str) -> Verdict:
    curve = dict(report.scaling.get(f"{agent}/sample/{phase} over rows", []))
    first, last = SAMPLING_RANGE
    spread = max(curve.values()) / min(curve.values()) if {first, last} <= curve.keys() else None
    target = f"{agent}, {phase}: sampling from {first:,} to {last:,} rows, slowest over fastest"
    return _verdict(target, SAMPLING_LIMIT, spread, "needs --scaling, and memory for so many rows")


def _conversion(report: Report, agent: str) -> Verdict:
    rows = _milliseconds(report, f"{agent}/transcode", f"{agent}/forward")
    ratio = rows[0] / rows[1] if rows else None
    return _verdict(f"{agent}: conversion over the encoder's forward pass", CONVERSION_LIMIT, ratio, "not measured")


def _whole_run(report: Report, agent: str, config: Config) -> Verdict:
    """Projected from the rows; a game's length is known only where the time limit alone ends it."""
    target, limit = f"{agent}: minutes of the paper's {config.steps:,} steps, evaluation included", RUN_LIMITS[agent]
    names = ("loop/frames", "loop/latents", "transcode", "step", "act/games")
    rows, frozen_at = _milliseconds(report, *(f"{agent}/{name}" for name in names)), config.freeze_step
    if rows is None or frozen_at is None:
        return Verdict(target, limit, None, None, "needs the environment")
    before, after, converted, step, act = rows
    minutes = (frozen_at * (before + converted) + (config.steps - frozen_at) * after) / 60e3
    if agent == "rainbow":
        note = "projected without evaluation, as games differ in length: see summary.json of a whole run"
        return Verdict(target, limit, minutes, None if minutes <= limit else False, note)
    rounds = config.steps // config.eval_every * (1000 // config.image.action_repeat)
    minutes += rounds * (EVALUATION_GAMES * step + act) / 60e3
    return _verdict(target, limit, minutes, "", "projected from the rows")
