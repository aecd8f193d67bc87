"""The folder of an agent to share: weights and everything else that acting needs, checked when read.

    config.json         format, versions, step, observations and actions, settings of the run, sha256 of the weights
    model.safetensors   weights of the networks that act: no replay, optimiser or target network

No module that such a folder names is imported when it is read; agents of installed packages are found by their names.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from seer import __version__
from seer.config import Config, config_from_json, config_to_json
from seer.errors import SettingError
from seer.runs.folder import CONFIG_FILE, SHARED_FORMAT
from seer.runs.snapshots import source_name
from seer.runs.state_files import write_blocks
from seer.trained.interface import Interface, interface_from_json
from seer.trained.weights import Trained
from seer.validation import validate

VERSION = 1
WEIGHTS_FILE = "model.safetensors"
AGAIN = "get the folder again"


def write_shared(folder: Path, config: Config, interface: Interface, trained: Trained) -> None:
    """Write both files.

    Raises:
        SettingError: agent or encoder are the user's own, whose code wouldn't be in the folder.
        OSError: the disk is full or forbidden.
    """
    _refuse_own_code(config.agent, config.freeze.encoder_factory)
    weights = write_blocks(folder / WEIGHTS_FILE, trained.weights)
    content = {
        "format": SHARED_FORMAT,
        "version": VERSION,
        "seer": __version__,
        "step": trained.step,
        "decisions": trained.decisions,
        "is_frozen": trained.is_frozen,
        "interface": interface.to_json(),
        "settings": config_to_json(portable(config)),
        "weights": weights,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_shared(folder: Path, content: Mapping[str, Any]) -> tuple[Config, Interface, Trained]:
    """Return settings, interface and weights of a folder, whose `config.json` has this content.

    Raises:
        SettingError: it is of a newer format, names an unknown agent, or a file is missing or damaged.
    """
    version, file = content.get("version"), folder / CONFIG_FILE
    if version != VERSION:
        raise SettingError(
            f"{file} has version {version}, this seer ({__version__}) reads version {VERSION}: "
            f"use seer {content.get('seer')}, which wrote it"
        )
    try:
        counts = {name: content[name] for name in ("step", "decisions")}
        if not all(type(count) is int and count >= 0 for count in counts.values()):
            raise ValueError(f"{counts}")
        settings = {name: value for name, value in content["settings"].items() if name != "log"}
        _refuse_own_code(settings["agent"], settings["freeze"]["encoder_factory"])  # before anything is imported
        config = validate(portable(config_from_json(settings)), new=False)
        interface = interface_from_json(content["interface"])
        weights = folder / WEIGHTS_FILE
        _check(weights, **content["weights"])
        trained = Trained(**counts, is_frozen=content["is_frozen"] is True, weights=load_file(weights), origin=folder)
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError, OSError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"{file} can't be read ({error!r}): {AGAIN}") from error
    return config, interface, trained


def portable(config: Config) -> Config:
    """Return settings without places on the machine that trained; runs it began with have their names alone."""
    sources = config.freeze.agent_from, config.freeze.encoder_from
    agent_from, encoder_from = (None if source is None else source_name(source) for source in sources)
    freeze = dataclasses.replace(config.freeze, agent_from=agent_from, encoder_from=encoder_from)
    return dataclasses.replace(config, out=None, log=(), replay_on=None, compile=False, freeze=freeze)


def _refuse_own_code(agent: str, encoder_factory: str | None) -> None:
    """Raise SettingError where loading would import a module that the settings name, other than installed packages."""
    named = f"--encoder-factory {encoder_factory}" if ":" not in agent else f"--agent {agent}"
    if encoder_factory is not None or ":" in agent:
        raise SettingError(
            f"{named}: an agent with code of one's own can't be shared, as loading it would run code that isn't in the "
            "folder; use seer.load on the run itself"
        )


def _check(file: Path, *, size: int, sha256: str) -> None:
    """Refuse weights that aren't those that `config.json` was written with."""
    if not file.is_file():
        raise SettingError(f"{file} is missing: {AGAIN}")
    if (found := file.stat().st_size) != size:
        raise SettingError(f"{file} is damaged, it has {found:,} bytes in place of {size:,}: {AGAIN}")
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
            raise SettingError(f"{file} is damaged or another agent's, its bytes don't match their sha256: {AGAIN}")
