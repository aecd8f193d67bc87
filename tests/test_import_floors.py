"""Imports run one way, downward: a module may import its own package and the floors below, nothing else.

That keeps the training loop and the agents free of configuration, and every part usable without those above.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "seer"

# Top floor first. A name is a module or package directly under `seer`.
FLOORS = (
    {"__main__"},
    {"cli", "worker"},
    {"trainer", "dry_run"},
    {"paper"},
    {"export", "trained"},
    {"reporting"},
    {"sweeps"},
    {"training"},
    {"flags"},
    {"settings"},
    {"presets", "validation"},
    {"config"},
    {"integrations"},
    {"runs"},
    {"agents"},
    {"replay", "networks", "envs"},
    {"core"},
    {"registry"},
    {"fields", "errors", "allocator", "signals", "closed_output", "system_info"},
    {"__init__"},  # the version, and names for type checkers, which load nothing
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def imported_parts(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, name directly under seer) of each import of seer's own, those inside functions included.

    `package` is the package that relative imports start from, such as "seer.replay".
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            root, _, rest = target.partition(".")
            if root == "seer":
                part = rest.partition(".")[0]
                yield node.lineno, "__init__" if part in ("", "__version__") else part


def violations(source: str, path: Path) -> list[str]:
    """One line for each import in `source` that breaks the rule; `path` is relative to the package's root."""
    part, tree = path.parts[0].removesuffix(".py"), ast.parse(source)
    if part == "__init__":
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        ]
    if part not in FLOOR_OF:
        return [f"{path}: '{part}' has no floor: give it one in FLOORS"]
    found = []
    imports = imported_parts(tree, ".".join(["seer", *path.parts[:-1]]))
    for line, target in dict.fromkeys(imports):
        if target not in FLOOR_OF:
            found.append(f"{path}:{line}: '{target}' has no floor: give it one in FLOORS")
        elif target != part and FLOOR_OF[target] <= FLOOR_OF[part]:
            direction = "sideways" if FLOOR_OF[target] == FLOOR_OF[part] else "up"
            found.append(f"{path}:{line}: '{part}' imports {direction}, from '{target}'")
    return found


def test_imports_run_downward() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert files
    found = [line for file in files for line in violations(file.read_text(), file.relative_to(SOURCE))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("agents/dqn.py", "import seer.config", "agents/dqn.py:1: 'agents' imports up, from 'config'"),
        ("agents/rainbow.py", "from seer import training", "'agents' imports up, from 'training'"),
        ("agents/rainbow.py", "from ..training.loop import train", "'agents' imports up, from 'training'"),
        ("core/flops.py", "from ..agents import agent", "'core' imports up, from 'agents'"),
        ("core/flops.py", "from .. import errors, training", "'core' imports up, from 'training'"),
        ("replay/buffer.py", "from seer.networks import heads", "'replay' imports sideways, from 'networks'"),
        ("errors.py", "def f():\n    from seer.cli import main", "errors.py:2: 'errors' imports up, from 'cli'"),
        ("errors.py", "if TYPE_CHECKING:\n    from seer.agents.agent import Agent", "'errors' imports up"),
        ("__init__.py", "from seer.errors import SettingError", "'__init__' imports up, from 'errors'"),
        ("misc/helpers.py", "", "'misc' has no floor"),
        ("cli.py", "from seer.misc import helpers", "cli.py:1: 'misc' has no floor"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str, complaint: str) -> None:
    (found,) = violations(source, Path(path))
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cli.py", "import torch\nfrom seer import __version__, config\nfrom seer.config import Settings"),
        ("replay/buffer.py", "import seer.replay.memory\nfrom . import sum_tree\nfrom ..errors import E"),
        ("replay/__init__.py", "from .buffer import Replay"),
        ("errors.py", "import seer"),
    ],
)
def test_imports_down_or_inside_one_package_pass(path: str, source: str) -> None:
    assert violations(source, Path(path)) == []
