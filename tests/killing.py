"""One run without a stop, and the same run cut off at each of some points and resumed, in children of this process.

Run as a script: forking spares each child the seconds that imports take, and needs a process that has never computed.

    killing.py FOLDER POINTS [--replay-on DIR] FLAGS...     POINTS: "site:number site:number ..."

With --replay-on the runs that are cut off have their replays there, until they go on for the last time: in memory,
where the run without a stop has its own from the first step.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ale_py  # noqa: F401  # this and OpenCV: imported here, once for all children
import cv2  # noqa: F401

from drawing import without_shadows
from seer import trainer
from seer.cli import main
from seer.envs.dm_control import known_dm_control_tasks
from seer.envs.rendering import choose_backend
from seer.runs import checkpoints as checkpoint
from seer.runs.outputs.jsonl import JsonlOutput
from seer.runs.outputs.tensorboard import TensorBoardOutput
from seer.training import evaluation, loop
from seer.training.events import Events
from seer.training.saving import Checkpointer
from seer.training.state import TrainingState

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
WRITES = ((checkpoint, "write_blocks"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree"))


def calls(owner: Any, name: str, fire: Callable[[], None]) -> contextlib.AbstractContextManager[Any]:
    """Inside, `fire` runs before every call."""
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        fire()
        return original(*arguments, **options)

    return patch.object(owner, name, call)


SITES: dict[str, tuple[Any, str]] = {
    "act": (loop, "collect"),
    "learn": (loop, "learn"),
    "convert": (Events, "on_conversion_progress"),
    "evaluate": (evaluation, "_play"),
    "record": (TensorBoardOutput, "record"),  # metrics.jsonl has the record, TensorBoard hasn't
    "load": (TrainingState, "load_state_dict"),
    "end": (Checkpointer, "finish"),
}
"""What is called when a run comes there; "tear", in the middle of a record, and "write" are made below."""


def under_fire(site: str, number: int) -> contextlib.AbstractContextManager[Any]:
    """Inside, this process gets a signal at the `number`-th time it comes to a site: kill-act, term-evaluate."""
    kind, _, place = site.partition("-")
    counter = itertools.count(1)

    def fire() -> None:
        if next(counter) == number:
            os.kill(os.getpid(), SIGNALS[kind])

    if place == "tear":
        return patch.object(JsonlOutput, "record", torn(JsonlOutput.record, fire))
    if place == "write":
        return patch.object(Checkpointer, "save", writing(Checkpointer.save, fire))
    return calls(*SITES[place], fire)


def torn(record: Callable[..., None], fire: Callable[[], None]) -> Callable[..., None]:
    def call(self: JsonlOutput, written: dict[str, Any]) -> None:
        before = os.fstat(self._file.fileno()).st_size
        record(self, written)
        os.truncate(self._file.name, (before + os.fstat(self._file.fileno()).st_size) // 2)
        fire()
        os.truncate(self._file.name, before)
        self._file.write(json.dumps(written, allow_nan=False).encode() + b"\n")

    return call


def writing(save: Callable[[Checkpointer], None], fire: Callable[[], None]) -> Callable[[Checkpointer], None]:
    """Of everything that changes the disk during a checkpoint, each is one call."""

    def call(self: Checkpointer) -> None:
        with contextlib.ExitStack() as stack:
            for owner, name in WRITES:
                stack.enter_context(calls(owner, name, fire))
            save(self)

    return call


def child(log: Path, action: Callable[[], None]) -> int:
    """The exit code of `action` in a child, negative for a signal; what it prints goes to `log`."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        action()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:  # noqa: BLE001 (a child never returns to its parent's code)
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def seer(*arguments: object) -> None:
    sys.argv = ["seer", *map(str, arguments)]
    with patch.object(trainer, "plot_runs", lambda *_, out, **__: out):
        main()


def fired(site: str, number: int, *arguments: object) -> None:
    with under_fire(site, number):
        seer(*arguments)


def cut_off(folder: Path, point: str, flags: list[str], last: list[str]) -> dict[str, Any]:
    """Start, be cut off, resume; a point "a:1+b:2" is cut off twice, the second time while resumed.

    `last` are flags of the resume that nothing cuts off.
    """
    log, codes = folder.with_suffix(".log"), []
    first, *others = [(site, int(number)) for site, _, number in (part.partition(":") for part in point.split("+"))]
    codes.append(child(log, lambda: fired(*first, "train", *flags, "--out", folder)))
    for site, number in others:
        codes.append(child(log, partial(fired, site, number, "resume", folder)))
    codes.append(child(log, partial(seer, "resume", folder, *last)))
    return {"point": point, "folder": str(folder), "codes": codes, "said": log.read_text()[-2000:]}


def script(folder: Path, points: list[str], flags: list[str]) -> None:
    on_disk, rest = (flags[:2], flags[2:]) if flags[0] == "--replay-on" else ([], flags)
    last = ["--replay-on", "none"] if on_disk else []
    with contextlib.ExitStack() as stack:
        if any(flag.startswith("dm_control") for flag in flags):
            choose_backend()
            known_dm_control_tasks()  # imports what each child would
            stack.enter_context(without_shadows())
        whole = child(folder / "whole.log", lambda: seer("train", *rest, "--out", folder / "whole"))
        assert whole == 0, (folder / "whole.log").read_text()
        for number, point in enumerate(points):
            print(json.dumps(cut_off(folder / f"run{number}", point, flags, last)), flush=True)


if __name__ == "__main__":
    script(Path(sys.argv[1]), sys.argv[2].split(), sys.argv[3:])
