"""The folder that `seer export` writes: three files, checked, and what one must know to run them.

Axes: B observations, S stack, C channels, H, W, N latents per observation, L latent.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seer.agents.agent import Agent
from seer.core.phase import Phase
from seer.export.check import Agreement, Outputs, check
from seer.export.onnx import export
from seer.export.wire import Wire, fit_int8, wires
from seer.reporting.files import new_folder

DESCRIPTION, INT8 = "export.json", "int8.json"


@dataclass(frozen=True)
class Bundle:
    """What was written, how near it is to the agent, and what smaller latents change.

    files: by name, inputs and outputs. num_bytes: of the newest frame and of the whole stack of an observation. exact:
        the files' own outputs for the observations.
    """

    files: dict[str, dict[str, Any]]
    num_bytes: dict[str, int]
    agreement: Agreement
    wires: list[Wire]
    exact: Outputs

    def rows(self) -> dict[str, str]:
        """Return the rows of a table: the files, and what was found of them."""
        rows = {
            name: f"{_signature(file['inputs'])} -> {_signature(file['outputs'])}" for name, file in self.files.items()
        }
        rows["against the agent in float32"] = str(self.agreement)
        rows["frames"] = ", ".join(f"{name} {number:,} bytes" for name, number in self.num_bytes.items())
        return rows | {f"latents as {each.dtype}, {each.num_bytes:,} bytes": str(each.agreement) for each in self.wires}


def make_bundle(
    agent: Agent[Any],
    observations: np.ndarray,
    target: Path,
    about: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Bundle:
    """Write the new folder `target`, once its files have been found to do what the agent does.

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
        int8 = fit_int8(exact["latents"][:fitted])
        sent = wires(folder, {name: each[fitted:] for name, each in exact.items()}, int8)
        num_bytes = {"newest": math.prod(observations.shape[2:]), "stack": math.prod(observations.shape[1:])}
        bundle = Bundle(files, num_bytes, agreement, sent, exact)
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
            "latents_sent_as": [asdict(wire) for wire in sent],
        }
        _write_json(folder / DESCRIPTION, description, indent=2)
        progress(3, 3)
    return bundle


def _write_json(file: Path, content: Mapping[str, Any], *, indent: int | None = None) -> None:
    file.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n")


def _signature(values: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {each['dtype']} {' x '.join(map(str, each['shape']))}" for name, each in values.items())
