"""Keep the numbers of the pages equal to the tables of runs.

    python results/page.py                 # print every block of numbers, computed anew
    python results/page.py does-it-work    # one of them
    python results/page.py --check         # exit code 1, and where, if a page or a picture shows something else
    python results/page.py --update        # write the blocks into the pages, draw pictures that are out of date

A page has a block between <!-- NAME: begin --> and <!-- NAME: end -->, on lines of their own.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import atari
import claims
import control
import evidence
from pictures import PICTURES, draw, shows
from seer.errors import SettingError

BLOCKS: Mapping[str, Callable[[], str]] = {
    "claims": claims.claims_block,
    "does-it-work": claims.short_block,
    "equal-steps": atari.steps_block,
    "equal-compute": partial(atari.table1_block, atari.COMPUTE),
    "equal-memory": partial(atari.table1_block, atari.MEMORY),
    "control": control.control_block,
    "cost": control.cost_block,
    "transfer": control.transfer_block,
    "yardsticks": atari.never_frozen_block,
    "data": claims.data_block,
}
MARKED = re.compile(r"(?P<begin><!-- (?P<name>[\w-]+): begin -->\n)(?P<text>.*?)(?P<end><!-- (?P=name): end -->)", re.S)


def pages(root: Path) -> list[Path]:
    """Return the pages that may have blocks."""
    return [root / "README.md", *sorted(root.glob("docs/*.md")), *sorted(root.glob("results/**/README.md"))]


def renewed(text: str, blocks: Mapping[str, str]) -> str:
    """Return a page's text with its blocks as they are now."""
    return MARKED.sub(lambda found: found["begin"] + blocks[found["name"]] + "\n" + found["end"], text)


def differences(root: Path) -> Iterator[str]:
    """Yield what on a page or in a picture isn't what the tables say."""
    blocks = {name: make() for name, make in BLOCKS.items()}
    for file in pages(root):
        for found in MARKED.finditer(file.read_text()):
            if found["name"] not in blocks:
                yield f"{file.relative_to(root)}: there is no block {found['name']}, only {', '.join(blocks)}"
            elif found["text"] != blocks[found["name"]] + "\n":
                yield f"{file.relative_to(root)}: {found['name']} isn't what the tables say"
    for name, picture in PICTURES.items():
        if shows(root / name) != evidence.digest(picture.exhibits):
            yield f"{name} was drawn from other tables"


def update() -> None:
    """Write all blocks into the pages, and draw the pictures that show another state of the tables."""
    root = evidence.RESULTS.parent
    blocks = {name: make() for name, make in BLOCKS.items()}
    for file in pages(root):
        text = file.read_text()
        if (new := renewed(text, blocks)) != text:
            file.write_text(new)
            print(f"wrote {file.relative_to(root)}")
    for name, picture in PICTURES.items():
        if shows(root / name) != evidence.digest(picture.exhibits):
            draw(picture, root / name)
            print(f"drew {name}")


def main(words: Sequence[str] | None = None) -> None:
    """Print, check or update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("block", nargs="?", choices=list(BLOCKS))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args(words)
    try:
        if options.check:
            found = list(differences(evidence.RESULTS.parent))
            sys.exit("\n".join([*found, "bring them up to date: python results/page.py --update"]) if found else 0)
        if options.update:
            update()
        elif options.block:
            print(BLOCKS[options.block]())
        else:
            print("\n\n".join(f"## {name}\n\n{make()}" for name, make in BLOCKS.items()))
    except SettingError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
