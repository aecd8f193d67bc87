"""Write the tables of docs/api.md and docs/commands.md, for readers of the repository.

    python docs/tools/tables.py    # brings them up to date with the code

On the site the whole reference stands in their place: `expanded` puts it there.
"""

import importlib
import inspect
import re
from pathlib import Path

from commands import reference

ROOT = Path(__file__).parents[2]
PAGES_WITH_TABLES = (ROOT / "docs/api.md", ROOT / "docs/commands.md")
TABLE = re.compile(r"^\| (?P<kind>name|command) \| in one sentence \|\n\|---\|---\|\n(?P<rows>(?:^\|.*\|\n)+)", re.M)
NAME = re.compile(r"^\| \[`(seer\.[\w.]+)`\]", re.M)


def renewed(page: str) -> str:
    """Return a page whose tables say what the code says; the page chooses the public names and their order."""

    def rows(found: re.Match[str]) -> str:
        of_names = "".join(name_row(name) for name in NAME.findall(found["rows"]))
        return found[0].removesuffix(found["rows"]) + (of_names if found["kind"] == "name" else command_rows())

    return TABLE.sub(rows, page)


def expanded(page: str) -> str:
    """Return a page with the reference in place of its tables; that of names is mkdocstrings' to fill in."""

    def full(found: re.Match[str]) -> str:
        of_names = "\n".join(f"::: {name}\n" for name in NAME.findall(found["rows"]))
        return of_names if found["kind"] == "name" else reference()

    return TABLE.sub(full, page)


def name_row(name: str) -> str:
    """Return a public name's row: a link to its source, and the first sentence of its docstring."""
    module, _, last = name.rpartition(".")
    thing = inspect.unwrap(getattr(importlib.import_module(module), last))
    source = Path(inspect.getsourcefile(thing) or "").resolve().relative_to(ROOT)
    paragraph = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    sentence = re.split(r"(?<=\.) (?=[A-Z`])", paragraph, maxsplit=1)[0].replace("|", "\\|")
    return f"| [`{name}`](../{source}) | {sentence} |\n"


def command_rows() -> str:
    """Return a row for each command, with the summary that its --help gives."""
    found = re.findall(r"^## (seer [\w ]+)\n\n```text\n[^`]*```\n\n(.+)$", reference(), re.M)
    return "".join(f"| `{command}` | {summary} |\n" for command, summary in found)


def main() -> None:
    """Write the pages whose tables are out of date."""
    for page in PAGES_WITH_TABLES:
        text = page.read_text()
        if (new := renewed(text)) != text:
            page.write_text(new)
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
