"""`seer card`: write a run's agent as a folder to share."""

import json
import re
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seer import __version__
from seer.agents.registry import agent_label
from seer.config import Config
from seer.errors import RunError, SettingError
from seer.reporting.files import new_folder, refuse_unusable
from seer.reporting.plots import plot_runs
from seer.runs.folder import METRICS_FILE, RunFolder, is_number, read_metrics, read_summary
from seer.runs.terminal import Terminal, human_bytes
from seer.settings import flags_of
from seer.trained.agent import TrainedAgent
from seer.trained.interface import Interface
from seer.trained.licences import LICENCES, Licence
from seer.trained.load import ask_interface, load
from seer.trained.shared_folder import portable, write_shared
from seer.trained.weights import Trained, make_trained, read_trained
from seer.training.load_run import config_of

CHECKED = 16
"""Observations on which the folder, read back, has to do what the agent does."""


def write_card(path: Path, *, out: Path, step: int | None, license: str, author: str) -> None:  # noqa: A002
    """Write the new folder `out`, once it has been read back to the same actions."""
    licence, folder = _licence(license), RunFolder.open(path)
    refuse_unusable(out, "--out")
    config = config_of(folder)
    interface, trained = ask_interface(config), read_trained(folder, step)
    agent = make_trained(config, interface, trained, device=None, source=path)
    records = read_metrics(path)
    text = _card_text(portable(config), trained, agent, records, path=path, licence=(license, licence.name))
    with new_folder(out) as made:
        write_shared(made, config, interface, trained)
        if any(record["kind"] == "eval" for record in records):
            plot_runs([path], x="steps", out=made / "learning_curve.png")
        (made / "README.md").write_text(text)
        (made / "LICENSE").write_text(licence.written(year=time.gmtime().tm_year, author=author))
        _refuse_other_actions(agent, load(made, device=str(agent.device)))
        sizes = {file.name: human_bytes(file.stat().st_size) for file in sorted(made.iterdir())}
    terminal = Terminal()
    terminal.table(f"{config.env}, {config.agent}, step {trained.step:,}", sizes)
    terminal.say(f"read back: {CHECKED} of {CHECKED} actions the same; weights under {licence.name}")
    terminal.say(f"wrote {out}; hf upload USER/{_model_name(config)} {out} shares it")


def _licence(name: str) -> Licence:
    if name not in LICENCES:
        raise SettingError(
            f"--license {name}: seer has the text of {', '.join(LICENCES)}; give one of them, and for another one edit "
            "README.md and LICENSE before sharing"
        )
    return LICENCES[name]


def _card_text(
    config: Config,
    trained: Trained,
    agent: TrainedAgent,
    records: list[dict[str, Any]],
    *,
    path: Path,
    licence: tuple[str, str],
) -> str:
    """Return the content of README.md as Hugging Face reads it; its text is card.md.jinja.

    `config` is as it is shared, `records` are those of the run in `path`, `licence` is identifier and name.
    """
    evaluations = [record for record in records if record["kind"] == "eval"]
    here = [record for record in evaluations if record.get("step") == trained.step]
    if here and not all(is_number(here[-1].get(name)) for name in ("mean", "std", "episodes")):
        raise SettingError(f"{path / METRICS_FILE} is damaged: the evaluation of step {trained.step} lacks its scores")
    freezes = [record.get("step") for record in records if record["kind"] == "freeze"]
    prolonged = [record for record in records if record["kind"] == "prolong" and record.get("step", 0) < trained.step]
    chosen = [int(record["step"]) for record in records if record["kind"] == "freeze_choice"]
    refilled = [int(record["step"]) for record in prolonged if record.get("replay") == "empty"]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = json.dumps  # JSON's strings are YAML's too
    environment.filters["in_a_cell"] = lambda value: " ".join(str(value).split()).replace("|", "/")
    return environment.get_template("card.md.jinja").render(
        name=_model_name(config),
        label=agent_label(config.agent),
        config=config,
        command=shlex.join(["seer", "train", *flags_of(config)]),
        version=__version__,
        licence=licence,
        step=trained.step,
        refilled_at=refilled[0] if refilled else None,
        rule_from=chosen[-1] if chosen and config.freeze.choice.rule is not None else None,
        frozen_at=freezes[-1] if trained.is_frozen and freezes else None,
        score=here[-1] if here else None,  # the run's record of an evaluation at this step
        has_curve=bool(evaluations),
        cost=_cost(path, trained.step) if trained.is_frozen else None,
        interface=agent.interface,
        sees=_observation(agent.interface),
        discrete=isinstance(agent.interface.action_space, Discrete),
        num_weights=sum(weight.numel() for weight in trained.weights.values()),
        latent_shape=agent.latent_shape,
    )


def _model_name(config: Config) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{config.agent}-{config.env}-{config.seed}").strip("-")


def _observation(interface: Interface) -> str:
    """Say what an observation is."""
    stack, (channels, height, width) = interface.stack, interface.frame_shape
    sees = f"uint8 [{stack}, {channels}, {height}, {width}]: the last {stack} frames, oldest first"
    if (packing := interface.packing) is None:
        return sees
    cameras = (f"`{name}` uint8 {list(shape)}" for name, shape in packing.cameras.items())
    vectors = (f"`{name}` float32 [{size}]" for name, size in packing.vectors.items())
    return f"{sees}, each with {', '.join((*cameras, *vectors))} as bytes one behind the other"


def _cost(path: Path, step: int) -> float | None:
    """Return the share of FLOPs that a run took which ended at this step; None for another one."""
    summary = read_summary(path)
    with suppress(KeyError, TypeError, ZeroDivisionError):
        if summary is not None and summary["steps"] == step:
            return float(summary["flops"]["total"] / summary["flops"]["baseline"])
    return None


def _refuse_other_actions(agent: TrainedAgent, read_back: TrainedAgent) -> None:
    """Raise RunError where a folder doesn't do what the agent does, bit for bit."""
    rng = np.random.default_rng(0)
    observations = rng.integers(256, size=(CHECKED, *agent.observation_shape), dtype=np.uint8)
    if agent.interface.packing is not None:
        observations[..., agent.interface.packing.picture_bytes :] = 0  # not every four bytes are a number
    for name in ("act", "encode"):
        first, second = (getattr(each, name)(observations) for each in (agent, read_back))
        if not np.array_equal(first, second):
            raise RunError(f"the folder, read back, doesn't {name} as the agent does: report this with {agent}")
