"""Write the command reference from the parser itself, as the body of docs/commands.md."""

import re
from dataclasses import fields

from seer import cli
from seer.agents.registry import AGENTS
from seer.config import Config

SAME_FLAGS = "Takes every flag of [`seer train`](#seer-train) but `--dry-run`.\n\n"


def reference() -> str:
    """Return every command with its flags, their defaults and meaning, in Markdown."""
    pages = _of("rainbow")
    for command in cli.OF_A_RUN[1:]:
        flags = rf"(## seer {command}\n.*?```\n\n[^\n]*\n\n).*?(?=\n## |\Z)"
        pages = re.sub(flags, rf"\1{SAME_FLAGS}", pages, flags=re.S)
    extra = "".join(_own_flags(name) for name in AGENTS.names())
    return pages.replace("\n## seer resume\n", f"\n{extra}## seer resume\n")


def _of(agent: str) -> str:
    """Return the parser's own account of all commands, with headings for groups of flags."""
    app = cli.make_app(agent, Config(env="", agent=agent, own=AGENTS[agent].own_settings()))
    pages = app.generate_docs().partition("**Commands**:\n\n")[2]
    pages = re.sub(r"^\*\*(.+)\*\*:$", r"**\1**", pages, flags=re.M)
    return _with_group_headings(pages).replace("```console", "```text")


def _with_group_headings(pages: str) -> str:
    """Return the pages with a heading for each group of settings of `seer train`."""
    head, train, rest = pages.partition("## seer train\n")
    train, end, rest = rest.partition("\n## seer resume\n")
    return head + "## seer train\n" + re.sub(r"^\*\*(.+)\*\*$", r"### \1", train, flags=re.M) + end + rest


def _own_flags(agent: str) -> str:
    """Return the flags that only this agent has; nothing where it has none."""
    kind = type(AGENTS[agent].own_settings())
    if not fields(kind):
        return ""
    group = (kind.__doc__ or "").rstrip(".")
    found = re.search(rf"### {re.escape(group)}\n\n(.*?)\n\n", _of(agent), flags=re.S)
    assert found is not None
    return f"### Only with `--agent {agent}`\n\n{found[1]}\n\n"
