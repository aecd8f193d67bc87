"""The folder that `seer export` writes: three files, checked, and what one must know to run them.

Axes: B observations, S stack, C channels, H, W, N latents per observation, L latent.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seer.agents.agent import Agent
from seer.core.phase import Phase
from seer.export.check import Agreement, Outputs, check, compare, run
from seer.export.onnx import POLICY, export
from seer.replay.codec import Codec, Int8Codec
from seer.reporting.files import new_folder

DESCRIPTION, INT8 = "export.json", "int8.json"


def make_bundle(
    agent: Agent[Any],
    observations: np.ndarray,
    target: Path,
    about: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[dict[str, str], Outputs]:
    """Write the new folder `target`, once its files have been found to do what the agent does.

    Returns the rows of a table, what was written and what was found of it, and the files' outputs for the observations.

    int8's ranges are fitted to the first three quarters of the observations [B, S, C, H, W], two or more, and tried on
    the others.

    Args:
        agent: one that computes in float32, on the CPU.
        about: whose agent it is, for `export.json`.
        progress: hears of parts done and parts in all.

    Raises:
        SettingError: a layer can't be exported, the folder can't be written, or files and agent differ.
    """
    with new_folder(target) as folder:
        progress(0, 3)
        files = export(agent, observations.shape[1:], folder)
        progress(1, 3)
        agreement, exact = check(folder, agent, observations)
        progress(2, 3)
        fitted = 3 * len(observations) // 4
        int8 = Int8Codec.fitted([torch.from_numpy(exact["latents"][:fitted])[:, None]])  # as the replay's are
        sent = _try_sending(folder, {name: each[fitted:] for name, each in exact.items()}, int8)
        num_bytes = {"newest": math.prod(observations.shape[2:]), "stack": math.prod(observations.shape[1:])}
        _write_json(folder / INT8, {"low": int8.low.tolist(), "step": int8.step.tolist()})
        description = {
            **about,
            "encoder_frozen": agent.phase is not Phase.FRAMES,
            "computes_in": "float32",
            "frames": f"the last {observations.shape[1]} frames of the environment, oldest first; an episode's "
            "first frame fills the stack; cropping and scaling are done inside the files",
            "files": files,
            "frame_bytes": num_bytes,
            "checked": asdict(agreement),
            "latents_sent_as": [
                {"dtype": dtype, "num_bytes": size, "agreement": asdict(each)} for dtype, (size, each) in sent.items()
            ],
        }
        _write_json(folder / DESCRIPTION, description, indent=2)
        progress(3, 3)
    rows = {name: f"{_signature(file['inputs'])} -> {_signature(file['outputs'])}" for name, file in files.items()}
    rows["against the agent in float32"] = str(agreement)
    rows["frames"] = ", ".join(f"{name} {number:,} bytes" for name, number in num_bytes.items())
    return rows | {f"latents as {dtype}, {size:,} bytes": str(each) for dtype, (size, each) in sent.items()}, exact


def _try_sending(folder: Path, exact: Outputs, int8: Int8Codec) -> dict[str, tuple[int, Agreement]]:
    """Return, by dtype, the bytes of an observation's latents sent so, and what the policy makes of them.

    It is compared with the `exact` outputs; int8's range should be of other observations than these.
    """
    latents, expected = torch.from_numpy(exact["latents"]), dict(exact)
    if "q_values" in exact:
        expected["best_q_value"] = exact["q_values"].max(1)
    found = {}
    for codec in (Codec(torch.float32, torch.float32), Codec(torch.float32, torch.float16), int8):
        sent, dtype = codec.encode(latents), str(codec.stored).removeprefix("torch.")
        received = codec.decode(sent).numpy()
        given = {"latents": received} | run(folder / POLICY, received)
        found[dtype] = sent[0].nbytes, compare(expected, given, dtype, tolerance=math.inf)
    return found


def _write_json(file: Path, content: Mapping[str, Any], *, indent: int | None = None) -> None:
    file.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n")


def _signature(values: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {each['dtype']} {' x '.join(map(str, each['shape']))}" for name, each in values.items())
