"""Every command, link and message that a page shows is true, and every piece of its code runs."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import seer
from architecture import FILE, drawing
from build_site import FENCED, LINK
from commands import reference
from drawing import needs_drawing
from seer import cli
from seer.agents.registry import AGENTS
from seer.config import Config, fields_with
from tables import NAME, PAGES_WITH_TABLES, expanded, renewed
from test_import_floors import FLOORS
from tiny_run import config_of

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md")])
OF_THE_COMMAND = {"--dry-run"}  # of train, not of the run
SHORTER = {  # numbers of a page's code, for a test
    "docs/quick_start/own_loop.md": {
        "10_000": "90",
        "5_000": "60",
        "2_500": "40",
        "1_000": "40",
        "range(1000)": "range(10)",
    },
}
ELSEWHERE = {  # pages whose code runs in another test
    "README.md": "tests/test_readme.py",
    "docs/quick_start/stable_baselines3.md": "tests/sb3/test_use.py",
    "docs/trained_agents.md": "tests/trained/test_page.py",
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands() -> Iterator[tuple[str, str]]:
    """Page and command, of the shell blocks and of what stands between backquotes."""
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            yield from ((name_of(page), line.partition(" #")[0].strip()) for line in lines if line.startswith("seer "))
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        yield from ((name_of(page), found) for found in re.findall(r"`(seer \w+ [^`]*--env [^`]*)`", prose))


def code() -> Iterator[pytest.param]:  # type: ignore[valid-type]
    """Page and Python code of each block, and whether it says that it is a fragment."""
    block = re.compile(r"(<!-- fragment: [^\n]+ -->\n\n)?^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    for page in PAGES:
        for number, (fragment, source) in enumerate(block.findall(page.read_text())):
            yield pytest.param(name_of(page), source, bool(fragment), id=f"{name_of(page)}-{number}")


@cache
def anchors(page: Path) -> set[str]:
    """What a link into the page can name: its headings, as code hosts write them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    if page.name == "commands.md":
        text += reference()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read(line: str) -> None:
    words = [{"S": "0", "N": "1", "DIR": "x"}.get(word, word) for word in shlex.split(line)[1:]]
    asked = cli.command(words)
    if words[0] in cli.OF_A_RUN:
        words = ["--encoder-from" if word == "--from" else word for word in words]  # which doesn't read the run yet
        flags = [word for word in words[1:] if word not in OF_THE_COMMAND]
        config_of(flags if "--env" in flags else [*flags, "--env", "ALE/Pong-v5"])
    elif "--" in words:  # those of every run of a sweep
        config_of(["--env", "ALE/Pong-v5", *asked.keywords["common"]])


def test_there_are_commands_and_code() -> None:
    assert len(list(commands())) > 40
    assert sum(not block.values[2] for block in code()) > 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as an error, Box2D's ends the process
@pytest.mark.parametrize(("page", "command"), list(commands()))
def test_a_command_that_a_page_shows_is_read(page: str, command: str) -> None:
    if "CarRacing" in command:
        pytest.importorskip("Box2D")
    if "dm_control" in command:
        needs_drawing()
    if "my_envs:" not in command:  # the reader's own
        read(command)


@pytest.mark.parametrize(("page", "source", "is_fragment"), list(code()))
def test_code_of_a_page_runs(
    page: str, source: str, is_fragment: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, less in SHORTER.get(page, {}).items():
        source = re.sub(rf"(?<![\d_]){re.escape(number)}(?![\d_])", less, source)
    compiled = compile(source, page, "exec")
    if page in ELSEWHERE:
        assert Path(page).name in (ROOT / ELSEWHERE[page]).read_text()
    elif not is_fragment:
        exec(compiled, {"__name__": "page"})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for part in FENCED.split(page.read_text())[::2]:
        for link in LINK.findall(part):
            if ":" not in link:
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                assert target.exists(), link
                assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {name_of(page).removeprefix("docs/") for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert listed == pages | {"CONTRIBUTING.md", "results/README.md"}


def test_the_reference_of_commands_has_every_flag() -> None:
    text = reference()
    for field in fields_with(Config(env="").own):
        assert f"* `--{field.flag}" in text
    for agent in AGENTS.names():
        for field in fields_with(AGENTS[agent].own_settings()):
            assert f"* `--{field.flag}" in text, agent
    for name in cli.make_app():
        assert name.startswith("-") or f"## seer {name}\n" in text
    assert text.count("--freeze-layers K|all") == 1  # flops and memory have the same


def test_the_page_of_the_api_has_every_name() -> None:
    listed = NAME.findall((ROOT / "docs/api.md").read_text())
    inside = {name for name in listed if name.count(".") == 1}
    assert inside == {f"seer.{name}" for name in seer.__all__} - {"seer.__version__"}
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("page", PAGES_WITH_TABLES, ids=name_of)
def test_tables_of_names_and_commands_say_what_the_code_says_and_give_way_on_the_site(page: Path) -> None:
    text = page.read_text()
    assert text == renewed(text), "bring it up to date: python docs/tools/tables.py"
    assert renewed(text.replace(" | Return ", " | Give ").replace("Train an agent", "Learn")) == text
    on_site = expanded(text)
    assert "in one sentence" not in on_site
    if page.name == "commands.md":
        assert on_site.endswith(reference())
    else:
        assert re.findall(r"^::: (\S+)$", on_site, re.MULTILINE) == NAME.findall(text)


def messages() -> Iterator[str]:
    """Every text of the source, with … for what is filled in."""
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_of_the_troubleshooting_page_are_the_programs() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text()
    quoted = re.findall(r"^> (.+)$", text, re.MULTILINE)
    assert len(quoted) >= 20
    known = "\n".join(messages())
    for message in quoted:
        is_known = re.search(".*?".join(map(re.escape, message.split("…"))), known) is not None
        assert is_known, f"no message of seer any more: {message}"


def test_the_page_of_the_architecture_names_what_there_is() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    assert len(page.splitlines()) <= 150
    walk, _, table = page.partition("## The folders")
    for file in re.findall(r"`([\w/]+/\w+\.py)`", walk):
        assert file.startswith("tests/") or (ROOT / "src/seer" / file).exists(), file
    rows = re.findall(r"^\| \d+ \| (.*?) \|", table, re.MULTILINE)
    named = {name.removesuffix(".py") for row in rows for name in re.findall(r"`(\w+(?:\.py)?)/?`", row)}
    assert named == set.union(*FLOORS) - {"__main__", "__init__"}
    assert FILE.read_text() == drawing(), "draw it anew: python docs/figures/architecture.py"
