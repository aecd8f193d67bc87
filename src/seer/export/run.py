"""`seer export`: write the agent of a run's last checkpoint as files that run without seer and torch."""

import dataclasses
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch

from seer.core.phase import Phase
from seer.errors import SettingError
from seer.reporting.files import refuse_unusable
from seer.runs.checkpoints import latest_checkpoint, step_of
from seer.runs.folder import RunFolder
from seer.runs.terminal import Terminal
from seer.training.computing import pick_precision
from seer.training.load_run import config_of, load_player
from seer.training.observations import play

EXPORT_EVERY = 4
"""Steps between two observations of an export: int8's ranges need many situations, not one seen many times."""


def export_run(path: Path, *, onnx: bool, out: Path | None, observations: int) -> None:
    """Write the agent of the last checkpoint as ONNX files, once they are known to do what it does."""
    if not onnx:
        raise SettingError("seer export writes one format so far; write seer export RUN --onnx")
    if observations < 2:
        raise SettingError(f"--observations {observations} must be 2 or more")
    try:
        from seer.export.bundle import make_bundle
        from seer.export.check import compare, outputs_of
        from seer.export.graphs import policy_of
    except ImportError as error:
        raise SettingError(f"--onnx needs the extra: pip install 'seer-rl[export]' ({error})") from None
    target = path / "onnx" if out is None else out
    folder = RunFolder.open(path)
    refuse_unusable(target, "--out")
    config, terminal = dataclasses.replace(config_of(folder), device="cpu"), Terminal()
    in_float32 = dataclasses.replace(config, learning=dataclasses.replace(config.learning, precision="float32"))
    checkpoint = latest_checkpoint(folder.checkpoints)
    agent, environment = load_player(folder, in_float32, checkpoint)
    if environment.packing is not None:
        raise SettingError(
            "seer export writes agents that see one picture: this one sees several cameras, or vectors; seer.load "
            "plays it in Python"
        )
    policy_of(agent)  # refused before anything is played
    precision = pick_precision(config)
    # Read now: a run that goes on may have deleted this checkpoint by the time the files are written.
    rounding = None if precision is torch.float32 else load_player(folder, config, checkpoint)[0]
    seen = play(
        agent, environment, count=observations, every=EXPORT_EVERY, progress=partial(terminal.advance, "playing")
    )
    about = {
        "run": path.resolve().name, "step": step_of(checkpoint),
        "env": config.env, "env_kwargs": list(config.env_kwargs), "image": dataclasses.asdict(config.image),
        "agent": config.agent,
        "precision": config.learning.precision, "latent_dtype": config.freeze.latent_dtype,
        "environment_actions": environment.translation.bounds(), "frame_preparation": environment.preparation,
    }  # fmt: skip
    rows, exact = make_bundle(agent, seen, target, about, partial(terminal.advance, "exporting"))
    if rounding is not None:
        own = compare(outputs_of(rounding, seen), exact, "", tolerance=math.inf)
        rows[f"against it in {str(precision).removeprefix('torch.')}, as it plays here"] = str(own)
    terminal.table(f"{config.env}, {config.agent}, {checkpoint.name}", rows)
    taken = environment.translation.bounds()
    if "low" in taken and (np.any(np.array(taken["low"]) != -1) or np.any(np.array(taken["high"]) != 1)):
        terminal.say(
            f"the environment's own actions are low + (action + 1) / 2 * (high - low), with low {taken['low']} and "
            f"high {taken['high']} (export.json)"
        )
    if agent.phase is Phase.FRAMES:
        terminal.say("the encoder isn't frozen: encoder.onnx fits this checkpoint alone")
    terminal.say(f"wrote {target}")
