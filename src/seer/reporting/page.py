"""A page as data: sections of tables, charts and pictures, and the template that shows them (report.html.jinja)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seer import __version__


@dataclass(frozen=True)
class Table:
    """Cells below named columns, those from `numbers` on aligned right; folded away behind a `summary`, if any."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int | None = None
    note: str = ""
    summary: str = ""


@dataclass(frozen=True)
class Charts:
    """SVG elements side by side, and a legend of (label, colour, symbol) for all of them."""

    charts: Sequence[str]
    legend: Sequence[tuple[str, str, str]]
    caption: str


@dataclass(frozen=True)
class Picture:
    """A PNG in base64."""

    png: str
    title: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading, and what is below it; a text is a note."""

    title: str
    parts: Sequence[Table | Charts | Picture | str] = field(default_factory=list)


def render(title: str, intro: Sequence[str | Table], sections: Sequence[Section]) -> str:
    """Return the page as HTML; everything but the charts is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = {kind.__name__: kind for kind in (Table, Charts, Picture)}
    environment.tests |= {name.lower(): lambda part, kind=kind: isinstance(part, kind) for name, kind in kinds.items()}
    template = environment.get_template("report.html.jinja")
    return template.render(title=title, intro=intro, sections=sections, version=__version__)
