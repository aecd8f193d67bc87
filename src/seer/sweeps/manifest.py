"""The record of a sweep: its trials, and why those that failed did (sweep.json; fig3.json of an exhibit)."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seer.errors import SettingError, writing_to
from seer.runs.checkpoints import write_atomically
from seer.sweeps.trial import Entry

MANIFEST_FILE = "sweep.json"
ENTRY = tuple(field.name for field in dataclasses.fields(Entry))


@dataclass(frozen=True)
class Manifest:
    """A sweep's trials, and by name why those that failed did."""

    trials: tuple[Entry, ...]
    failures: dict[str, str] = dataclasses.field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write it as JSON, whole or not at all; SettingError where the disk is full or forbidden."""
        trials = [{name: getattr(trial, name) for name in ENTRY} for trial in self.trials]
        record = {"trials": trials, "failures": self.failures}
        with writing_to(file):
            write_atomically(file, json.dumps(record, indent=2).encode() + b"\n")

    def joined(self, file: Path) -> "Manifest":
        """Return it with the other trials of the manifest in `file`, if there is one; SettingError where it is none."""
        if not file.exists():
            return self
        earlier, names = self.read(file), {trial.name for trial in self.trials}
        others = tuple(trial for trial in earlier.trials if trial.name not in names)
        return Manifest((*others, *self.trials), earlier.failures | self.failures)

    @classmethod
    def read(cls, file: Path) -> "Manifest":
        """Read the manifest in `file`; SettingError where there is none, or it is none."""
        try:
            record: dict[str, Any] = json.loads(file.read_bytes())
            failures = {str(name): str(reason) for name, reason in record["failures"].items()}
            return cls(tuple(map(_entry, record["trials"])), failures)
        except OSError as error:
            raise SettingError(f"{file} can't be read ({error.strerror}): give the folder of a sweep") from error
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise SettingError(
                f"{file} is no record of a sweep: restore it, or delete it and give the command of the sweep again, "
                "which writes it anew"
            ) from error


def manifests_in(folder: Path) -> list[Manifest]:
    """Read what `seer sweep` (sweep.json) and `seer reproduce` (fig3.json) recorded in a folder, in order of names."""
    return [Manifest.read(file) for file in sorted(folder.glob("*.json")) if _names_trials(file)]


def _names_trials(file: Path) -> bool:
    try:
        return b'"trials"' in file.read_bytes()
    except OSError:
        return file.is_file()  # for `Manifest.read` to complain of


def _entry(trial: Mapping[str, Any]) -> Entry:
    """Read a trial; earlier versions called its variant "group" or "arm"."""
    variant = next(trial[name] for name in ("variant", "group", "arm") if name in trial)
    words, seed = (trial["name"], trial["env"], variant), trial["seed"]
    if not (all(isinstance(word, str) for word in words) and isinstance(seed, int)):
        raise TypeError(f"trial {trial}")
    return Entry(*words, seed)
