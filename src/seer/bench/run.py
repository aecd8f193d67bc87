"""`seer bench` and `seer memory --measure`: measure, print the tables, write the files."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from seer.bench.bench import measure
from seer.bench.ledger import ledger_table, measure_stores
from seer.bench.report import check_output, print_report, write_json, write_markdown
from seer.bench.scaling import draw_scaling
from seer.bench.subject import bench_config
from seer.bench.timing import FULL, QUICK
from seer.config import Config
from seer.errors import SettingError
from seer.runs.terminal import Terminal
from seer.training.computing import use_threads

LEDGER_STEPS = 2000
"""Steps played for `seer memory --measure`: enough for a system that counts memory in pages."""


def measure_memory(config: Config) -> None:
    """Print what a step takes in memory, store by store, with `--replay-capacity` (2,000) steps really played."""
    steps = config.replay.capacity or LEDGER_STEPS
    use_threads(config)
    terminal = Terminal()
    entries, missing = measure_stores(config, steps, partial(terminal.advance, "measuring"))
    Console().print(ledger_table(config, steps, entries))
    for line in missing:
        terminal.say(f"missing: {line}")


def run_bench(
    *,
    agents: Sequence[str],
    device: str,
    threads: int | None,
    quick: bool,
    scaling: Path | None,
    json: Path | None,
    markdown: Path | None,
) -> None:
    """Measure, print the tables, write the files that are asked for."""
    if not agents:
        raise SettingError("--agents names none; give one or more of rainbow, dqn, sac, curl")
    check_output("--scaling", scaling, endings=(".png", ".svg"))
    check_output("--json", json, endings=(".json",))
    check_output("--markdown", markdown, endings=(".md",), marked=True)
    plan, terminal = QUICK if quick else FULL, Terminal()
    configs = {agent: bench_config(agent, plan, device=device, threads=threads) for agent in agents}
    terminal.start()
    try:
        report = measure(configs, plan, scaling=scaling is not None, progress=partial(_measuring, terminal))
    finally:
        terminal.stop()
    print_report(report)
    if scaling is not None:
        draw_scaling(report.scaling, scaling)
    if json is not None:
        write_json(report, json)
    if markdown is not None:
        write_markdown(report, markdown)
    for path in filter(None, (scaling, json, markdown)):
        terminal.say(f"wrote {path}")


def _measuring(terminal: Terminal, done: int, total: int, what: str) -> None:
    terminal.advance("measuring", done, total, what)
