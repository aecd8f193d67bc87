"""Every command that a page shows is one: its flags are read as the command reads them, and nothing is carried out."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawing import needs_drawing
from seer import cli
from tiny_run import config_of

ROOT = Path(__file__).parents[1]
EXHIBITS = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("results/**/README.md"))
PAGES = ("README.md", "docs/usage.md", "docs/export.md", "docs/memory.md", "docs/performance.md", *EXHIBITS)
OF_THE_COMMAND = {"--dry-run"}  # of train, not of the run


def commands() -> Iterator[tuple[str, str]]:
    """Page and command, of the shell blocks and of what stands between backquotes."""
    for page in PAGES:
        text = (ROOT / page).read_text()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            yield from ((page, line.partition(" #")[0].strip()) for line in lines if line.startswith("seer "))
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        yield from ((page, found) for found in re.findall(r"`(seer \w+ [^`]*--env [^`]*)`", prose))


def anchors(page: Path) -> set[str]:
    """What a link into the page can name: its headings, as code hosts write them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read(line: str) -> None:
    words = [{"S": "0", "N": "1", "DIR": "x"}.get(word, word) for word in shlex.split(line)[1:]]
    asked = cli.command(words)
    if words[0] in cli.OF_A_RUN:
        flags = [word for word in words[1:] if word not in OF_THE_COMMAND]
        config_of(flags if "--env" in flags else [*flags, "--env", "ALE/Pong-v5"])
    elif "--" in words:  # those of every run of a sweep
        config_of(["--env", "ALE/Pong-v5", *asked.keywords["common"]])


def test_there_are_commands() -> None:
    assert len(list(commands())) > 40


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as an error, Box2D's ends the process
@pytest.mark.parametrize(("page", "command"), list(commands()))
def test_a_command_that_a_page_shows_is_read(page: str, command: str) -> None:
    if "CarRacing" in command:
        pytest.importorskip("Box2D")
    if "dm_control" in command:
        needs_drawing()
    read(command)


@pytest.mark.parametrize(
    "page",
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/*.md")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
