"""What is done with a trained agent: `seer eval`, `seer analyze`, `seer export`."""

import copy
import dataclasses
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from seer.analysis.attention import attend, draw_grid, film, pictures_of
from seer.analysis.convergence import converge, convergence_table, draw, pairs_of
from seer.analysis.files import new_picture, refuse_existing, spread, weights_by_step, write, write_picture
from seer.analysis.observations import play
from seer.build import PARALLEL_GAMES, build_evaluator, pick_precision
from seer.commands.stored import config_of, load_player
from seer.errors import SettingError
from seer.phase import Phase
from seer.training.checkpoint import latest_checkpoint
from seer.training.run import RunFolder, read_metrics
from seer.training.terminal import Terminal
from seer.training.video import filming, recording

EXPORT_EVERY = 4
"""Steps between two observations of an export: int8's ranges need many situations, not one seen many times."""

FILMED, FILM_PACE, MOST_FRAMES = 150, 15, 20
"""Observations in a film of attention, and how many it shows a second."""


def evaluate_run(path: Path, *, episodes: int, seed: int, video: Path | None) -> None:
    """Play whole games with the agent of the last checkpoint; record the first one if asked to."""
    if episodes < 1:
        raise SettingError(f"--episodes {episodes} must be 1 or more")
    if seed < 0:
        raise SettingError(f"--seed {seed} must be 0 or more")
    folder = RunFolder.open(path)
    config = config_of(folder)
    agent, environment = load_player(folder)
    evaluator = build_evaluator(config, games=min(episodes, PARALLEL_GAMES), seed=seed)
    terminal = Terminal()
    with recording(video, frames_per_second=environment.metadata["render_fps"]) as watch:
        evaluation = evaluator(
            agent, episodes=episodes, step=0, progress=partial(terminal.advance, "playing"), watch=watch
        )
    assert evaluation is not None  # nobody gives it up
    terminal.table(
        f"{config.env}, {config.agent}, {latest_checkpoint(folder.checkpoints).name}",
        {
            "score": f"{evaluation.mean:,.1f} ± {evaluation.std:,.1f}",
            "scores": ", ".join(f"{score:,.0f}" for score in evaluation.returns),
            "steps": ", ".join(f"{length:,}" for length in evaluation.lengths),
        },
    )
    if video is not None:
        terminal.say(f"wrote {video}")


def analyze_attention(path: Path, *, frames: int, out: Path | None, video: Path | None) -> None:
    """Draw where the convolutions look, over training."""
    if frames < 1:
        raise SettingError(f"--frames {frames} must be 1 or more")
    if frames > MOST_FRAMES:
        raise SettingError(f"--frames {frames} makes a picture that nobody can look at; give {MOST_FRAMES} or fewer")
    picture = new_picture(out, default=path / "attention.png")
    terminal, folder = Terminal(), RunFolder.open(path)
    agent, environment = load_player(folder)
    steps = weights_by_step(path)
    with filming(video, frames_per_second=FILM_PACE) as append:
        observations = play(agent, environment, count=FILMED, skip=60, progress=partial(terminal.advance, "playing"))
        maps = [(step, attend(agent, observations, steps[step]())) for step in spread(list(steps), 6)]
        if append is not None:
            chosen = [maps[index] for index in sorted({0, len(maps) // 2, len(maps) - 1})]
            film(pictures_of(agent, observations), chosen, append, partial(terminal.advance, "filming"))
    places = spread(range(len(observations) // 4, len(observations)), frames)
    stills = [(step, {layer: each[places] for layer, each in found.items()}) for step, found in maps]
    title = f"Spatial attention, {folder.config['env']}, {folder.config['agent']}"
    write_picture(draw_grid(pictures_of(agent, observations[places]), stills, title), picture)
    terminal.say(f"wrote {picture}" + ("" if video is None else f" and {video}"))


def analyze_svcca(
    path: Path, *, gap: int | None, num_observations: int, json_file: Path | None, out: Path | None
) -> None:
    """Measure how early each layer settles."""
    picture = new_picture(out, default=path / "svcca.png")
    if json_file is not None:
        refuse_existing(json_file, "--json")
    if num_observations < 2:
        raise SettingError(f"--observations {num_observations} must be 2 or more")
    if gap is not None and gap < 1:
        raise SettingError(f"--gap {gap} must be 1 or more")
    terminal, folder = Terminal(), RunFolder.open(path)
    weights = weights_by_step(path)
    steps, found_gap = pairs_of(list(weights), gap)
    if not steps:
        raise SettingError(
            f"{path} has no two snapshots{'' if gap is None else f' --gap {gap} steps apart'}, only of "
            f"{', '.join(f'step {step:,}' for step in weights)}; train with --snapshot-every"
        )
    agent, environment = load_player(folder)
    observations = play(
        agent, environment, count=num_observations, every=2, progress=partial(terminal.advance, "playing")
    )
    convergence = converge(
        (agent, copy.deepcopy(agent)),
        observations,
        steps,
        lambda step: weights[step](),
        gap=found_gap,
        frozen_at=next((record["step"] for record in read_metrics(path) if record["kind"] == "freeze"), None),
        progress=partial(terminal.advance, "comparing"),
    )
    Console().print(convergence_table(convergence))
    terminal.say(convergence.verdict())
    write_picture(draw(convergence, f"{folder.config['env']}, {folder.config['agent']}"), picture)
    if json_file is not None:
        write(json_file, json.dumps(convergence.to_json(), indent=2, allow_nan=False).encode() + b"\n", flag="--json")
    terminal.say(f"wrote {picture}" + ("" if json_file is None else f" and {json_file}"))


def export_run(path: Path, *, onnx: bool, out: Path | None, observations: int) -> None:
    """Write the agent of the last checkpoint as ONNX files, once they are known to do what it does."""
    if not onnx:
        raise SettingError("seer export writes one format so far; write seer export RUN --onnx")
    if observations < 2:
        raise SettingError(f"--observations {observations} must be 2 or more")
    try:
        from seer.integrations.onnx import compare, make_bundle, outputs_of
    except ImportError as error:
        raise SettingError(f"--onnx needs the extra: pip install 'seer-rl[export]' ({error})") from None
    target = path / "onnx" if out is None else out
    folder = RunFolder.open(path)
    refuse_existing(target, "--out")
    config, terminal = dataclasses.replace(config_of(folder), device="cpu"), Terminal()
    exact = dataclasses.replace(config, learning=dataclasses.replace(config.learning, precision="float32"))
    agent, environment = load_player(folder, exact)
    seen = play(
        agent, environment, count=observations, every=EXPORT_EVERY, progress=partial(terminal.advance, "playing")
    )
    checkpoint = latest_checkpoint(folder.checkpoints)
    about = {
        "run": path.resolve().name, "step": int(checkpoint.name.rpartition("-")[2]),
        "env": config.env, "image": dataclasses.asdict(config.image), "agent": config.agent,
        "precision": config.learning.precision, "latent_dtype": config.freeze.latent_dtype,
        "environment_actions": environment.own_actions(),
    }  # fmt: skip
    bundle = make_bundle(agent, seen, target, about, partial(terminal.advance, "exporting"))
    rows = bundle.rows()
    if (precision := pick_precision(config)) is not torch.float32:
        own = compare(outputs_of(load_player(folder, config)[0], seen), bundle.exact, "", tolerance=math.inf)
        rows[f"against it in {str(precision).removeprefix('torch.')}, as it plays here"] = str(own)
    terminal.table(f"{config.env}, {config.agent}, {checkpoint.name}", rows)
    taken = environment.own_actions()
    if "low" in taken and (np.any(np.array(taken["low"]) != -1) or np.any(np.array(taken["high"]) != 1)):
        terminal.say(
            f"the environment's own actions are low + (action + 1) / 2 * (high - low), with low {taken['low']} and "
            f"high {taken['high']} (export.json)"
        )
    if agent.phase is Phase.FRAMES:
        terminal.say("the encoder isn't frozen: encoder.onnx fits this checkpoint alone")
    terminal.say(f"wrote {target}")
