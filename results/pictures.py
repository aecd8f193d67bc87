"""Draw the pictures of the exhibits and of the page from the tables; each says which state of them it shows."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import control
from atari import COMPUTE, FRACTIONS, MEMORY, PAPER_FREEZE, SHARE, Half, setups
from evidence import digest, frozen_at, runs
from seer.paper.exhibits import EXHIBITS
from seer.reporting.curves import Group, Run, XAxis, by_environment
from seer.reporting.plots import STYLE, draw_groups

SOURCE = "Source"  # of the texts that a PNG file can hold
COLOURS, DPI = 128, 100
FIFTH = f"{FRACTIONS[SHARE]} as long"


@dataclass(frozen=True)
class Picture:
    """A picture of learning curves: the exhibits that it shows, what is on its x axis, and what gives its groups."""

    exhibits: Sequence[str]
    x: XAxis
    groups: Callable[[], Sequence[Group]]


def draw(picture: Picture, out: Path) -> None:
    """Draw a picture with few colours, which makes it small, and note the state of the tables in it."""
    with rc_context(STYLE | {"savefig.dpi": DPI}):
        groups = [group for group in picture.groups() if group.runs]
        figure = draw_groups(by_environment(groups), x=picture.x)
        content = io.BytesIO()
        figure.savefig(content, format="png")
    note = PngInfo()
    note.add_text(SOURCE, digest(picture.exhibits))
    image = Image.open(content).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(out, optimize=True, pnginfo=note)


def shows(file: Path) -> str | None:
    """Return the state of the tables that a picture was drawn from; None where there is no picture."""
    if not file.exists():
        return None
    with Image.open(file) as image:
        return str(image.info.get(SOURCE))


# What is drawn ---------------------------------------------------------------------------------------------------


def _grouped(labelled: Iterable[tuple[str, Run]]) -> list[Group]:
    """Return groups of runs of one label and environment, in the order in which they first come."""
    found: dict[tuple[str, str], list[Run]] = {}
    for label, run in labelled:
        found.setdefault((run.settings["env"], label), []).append(run)
    return [Group(env, label, members) for (env, label), members in found.items()]


def _longest() -> list[Group]:
    """Return the Rainbow agents that were trained longest."""
    return [
        Group(each.env, label, side)
        for each in setups(COMPUTE)[0].comparisons
        for label, side in (("Rainbow", each.never), ("Rainbow + SEER", each.frozen))
    ]


def _page() -> list[Group]:
    pair = control.first().steps
    return [*_longest(), Group(pair.env, "CURL", pair.never), Group(pair.env, "CURL + SEER", pair.frozen)]


def _table1(*halves: Half) -> list[Group]:
    variants = {
        name: variant.label
        for exhibit in ("table1", "table1-compute", "table1-memory")
        for name, variant in EXHIBITS[exhibit].variants.items()
    }
    labelled = []
    for half in halves:
        for setup in setups(half):
            for run in setup.every:
                name = run.label.removesuffix(f"-{setup.rest}")
                words = [FIFTH if word == "small" else word for word in setup.rest.split("-") if word]
                labelled.append((", ".join([variants[name], *words]), run))
    return _grouped(labelled)


def _hundred() -> list[Group]:
    found = [run for run in runs("rainbow-100k").values() if run.label in ("never", "at50000", "auto")]
    found += [run for run in runs("table1").values() if run.label == "rainbow-small"]
    kinds = {
        "never frozen": [run for run in found if run.settings["freeze.at"] == "never"],
        f"frozen at {PAPER_FREEZE:,}": [run for run in found if frozen_at(run) == PAPER_FREEZE],
        "frozen at the step that auto found": [run for run in found if run.settings["freeze.at"] == "auto"],
    }
    return _grouped((label, run) for label, members in kinds.items() for run in members)


def _earlier() -> list[Group]:
    names = {
        "never-earlier": "never frozen, before the work on speed", "frozen-earlier": "the same, frozen at 50,000",
        "float32": "never frozen, float32 as first written", "bfloat16": "the same, bfloat16",
    }  # fmt: skip
    return _grouped((names[run.label], run) for run in runs("rainbow-100k").values() if run.label in names)


def _summed() -> list[Group]:
    labelled = []
    for run in runs("curl-summed").values():
        at, size, last = frozen_at(run), run.settings["image.size"], run.of_kind("eval")[-1]["step"]
        when = "never frozen" if at is None else f"frozen at {at:,}"
        longer = " to 40,000" if last == 40_000 else ""
        labelled.append((f"{size} pixels{longer}, {when}", run))
    return sorted(_grouped(labelled), key=lambda group: group.label)


def _dtypes() -> list[Group]:
    float32 = [("float32", run) for run in runs("table1").values() if run.label == "rainbow-seer-small"]
    return _grouped([*float32, *((run.label, run) for run in runs("latent-dtypes").values())])


def _transfer() -> list[Group]:
    names = {"walk-never": "from scratch", "walk-transfer": "frozen encoder of walker-stand"}
    return _grouped((names[run.label], run) for run in runs("transfer").values() if run.label in names)


def _reaching() -> list[Group]:
    names = {
        "both-never": "picture and vector, never frozen", "both-frozen": "picture and vector, frozen at 4,000",
        "picture-never": "picture alone, never frozen", "picture-frozen": "picture alone, frozen at 4,000",
    }  # fmt: skip
    found = runs("reaching").values()
    return _grouped((label, run) for name, label in names.items() for run in found if run.label == name)


PICTURES = {
    "docs/does_it_work.png": Picture(["table1", "curl-summed"], "flops", _page),
    "results/table1/flops.png": Picture(["table1"], "flops", lambda: _table1(COMPUTE)),
    "results/table1/seconds.png": Picture(["table1"], "seconds", _longest),
    "results/table1/steps.png": Picture(["table1"], "steps", lambda: _table1(COMPUTE, MEMORY)),
    "results/rainbow-100k/flops.png": Picture(["rainbow-100k", "table1"], "flops", _hundred),
    "results/rainbow-100k/earlier.png": Picture(["rainbow-100k"], "steps", _earlier),
    "results/curl-summed/steps.png": Picture(["curl-summed"], "steps", _summed),
    "results/curl-summed/flops.png": Picture(["curl-summed"], "flops", _summed),
    "results/latent-dtypes/steps.png": Picture(["latent-dtypes", "table1"], "steps", _dtypes),
    "results/transfer/flops.png": Picture(["transfer"], "flops", _transfer),
    "results/reaching/steps.png": Picture(["reaching"], "steps", _reaching),
}
"""By their place in the repository."""
