"""`seer card`: write a run's agent as a folder to share."""

import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from seer.config import Config
from seer.errors import RunError, SettingError
from seer.reporting.files import new_folder, refuse_unusable
from seer.reporting.plots import plot_runs
from seer.runs.folder import METRICS_FILE, RunFolder, is_number, read_metrics, read_summary
from seer.runs.terminal import Terminal, human_bytes
from seer.trained.agent import TrainedAgent
from seer.trained.card_text import CardFacts, card_text
from seer.trained.interface import Interface
from seer.trained.licences import LICENCES, Licence
from seer.trained.load import ask_interface, load
from seer.trained.shared_folder import portable, write_shared
from seer.trained.weights import Trained, make_trained, read_trained
from seer.training.load_run import config_of

CHECKED = 16
"""Observations on which the folder, read back, has to do what the agent does."""


def write_card(path: Path, *, out: Path, step: int | None, license: str, author: str) -> None:  # noqa: A002
    """Write the new folder `out`, once it has been read back to the same actions.

    Raises:
        SettingError: the run can't be shared, or the folder can't be written.
    """
    licence, folder = _licence(license), RunFolder.open(path)
    refuse_unusable(out, "--out")
    config = config_of(folder)
    interface, trained = ask_interface(config), read_trained(folder, step)
    agent = make_trained(config, interface, trained, device=None, source=path)
    facts = _facts(config, interface, trained, agent, path=path, licence=(license, licence.name))
    with new_folder(out) as made:
        write_shared(made, config, interface, trained)
        if facts.has_curve:
            plot_runs([path], x="steps", out=made / "learning_curve.png")
        (made / "README.md").write_text(card_text(facts))
        (made / "LICENSE").write_text(licence.written(year=time.gmtime().tm_year, author=author))
        _refuse_other_actions(agent, load(made, device=str(agent.device)))
        sizes = {file.name: human_bytes(file.stat().st_size) for file in sorted(made.iterdir())}
    terminal = Terminal()
    terminal.table(f"{config.env}, {config.agent}, step {trained.step:,}", sizes)
    terminal.say(f"read back: {CHECKED} of {CHECKED} actions the same; weights under {licence.name}")
    terminal.say(f"wrote {out}; hf upload USER/{facts.name} {out} shares it")


def _licence(name: str) -> Licence:
    if name not in LICENCES:
        raise SettingError(
            f"--license {name}: seer has the text of {', '.join(LICENCES)}; give one of them, and for another one edit "
            "README.md and LICENSE before sharing"
        )
    return LICENCES[name]


def _facts(
    config: Config, interface: Interface, trained: Trained, agent: TrainedAgent, *, path: Path, licence: tuple[str, str]
) -> CardFacts:
    """Gather what the card tells of the run in `path`.

    Raises:
        SettingError: its records are missing or damaged.
    """
    records = read_metrics(path)
    evaluations = [record for record in records if record["kind"] == "eval"]
    here = [record for record in evaluations if record.get("step") == trained.step]
    if here and not all(is_number(here[-1].get(name)) for name in ("mean", "std", "episodes")):
        raise SettingError(f"{path / METRICS_FILE} is damaged: the evaluation of step {trained.step} lacks its scores")
    freezes = [record.get("step") for record in records if record["kind"] == "freeze"]
    prolonged = [record for record in records if record["kind"] == "prolong" and record.get("step", 0) < trained.step]
    chosen = [int(record["step"]) for record in records if record["kind"] == "freeze_choice"]
    refilled = [int(record["step"]) for record in prolonged if record.get("replay") == "empty"]
    return CardFacts(
        config=portable(config),
        interface=interface,
        step=trained.step,
        refilled_at=refilled[0] if refilled else None,
        rule_from=chosen[-1] if chosen and config.freeze.choice.rule is not None else None,
        frozen_at=freezes[-1] if trained.is_frozen and freezes else None,
        evaluation=here[-1] if here else None,
        cost=_cost(path, trained.step) if trained.is_frozen else None,
        has_curve=bool(evaluations),
        licence=licence,
        num_weights=sum(weight.numel() for weight in trained.weights.values()),
        latent_shape=agent.latent_shape,
    )


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
