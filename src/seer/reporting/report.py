"""One HTML page about many runs, complete in itself: it needs no network, no second file, and no script to be read."""

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from seer import __version__
from seer.errors import SettingError
from seer.reporting.aggregates import Aggregate
from seer.reporting.charts import Line, Panel, chart, legend, short
from seer.reporting.cost_tables import NONE, ledger
from seer.reporting.curves import (
    UNCOMPARED,
    Arm,
    Run,
    XAxis,
    curve,
    differing_settings,
    freezes,
    why_frozen,
)
from seer.reporting.page import SCRIPT, STYLE
from seer.reporting.plots import COLOURS, band
from seer.reporting.results import Column, Illustration, Results, summary_of
from seer.reporting.statistics import RESAMPLES, Estimate
from seer.sweeps.grid import short_name
from seer.training.checkpoint import write_atomically

AXIS_LABELS: dict[XAxis, str] = {
    "steps": "training steps (agent decisions)",
    "flops": "FLOPs (multiply-adds)",
    "seconds": "wall time (seconds)",
}


def write_report(paths: Sequence[Path], *, out: Path) -> Path:
    """The page about the runs and sweeps in `paths`, written to `out`; returns `out`.

    Raises:
        SettingError: a path holds no run and no sweep, or `out` can't be written.
    """
    if out.suffix not in (".html", ".htm"):
        raise SettingError(f"--out {out} is no page: let it end in .html")
    title = str(paths[0]) if len(paths) == 1 else f"{len(paths)} runs and sweeps"
    return write_page(Results.of_folders(paths, title=title), out=out)


def write_page(results: Results, *, out: Path) -> Path:
    """The page about these results, written to `out`; returns `out`.

    Raises:
        SettingError: it can't be written.
    """
    content = page(results, start=out.parent)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content.encode())
    except OSError as error:
        raise SettingError(f"--out {out} can't be written ({error.strerror}): choose another file") from error
    return out


def page(results: Results, *, start: Path) -> str:
    """The whole page; links to run folders are relative to the folder `start`."""
    num_runs = sum(len(arm.runs) for arm in results.arms)
    intro = [*results.statement, f"{num_runs} of {num_runs + len(results.missing)} runs are shown."]
    body = [
        f"<h1>{escape(results.title)}</h1>",
        *(f"<p>{escape(sentence)}</p>" for sentence in intro),
        *_missing(results),
    ]
    body += [_illustration(each) for each in results.illustrations]
    if results.arms:
        body += [_scores(results, column) for column in results.columns]
        body += [_curves(results, x) for x in results.axes]
        body += [_ledger(results), _settings(results), _runs(results, start)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(results.title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + f'\n<footer>seer {__version__}</footer></main><div id="tip" role="status" hidden></div>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


# Scores ----------------------------------------------------------------------------------------------------


def _missing(results: Results) -> list[str]:
    rows = [[name, reason] for name, reason in {**results.missing, **results.failures}.items()]
    return ["<h2>Not shown</h2>", _table(["what", "why"], rows)] if rows else []


def _scores(results: Results, column: Column) -> str:
    """A score table, what was published beside it, and what all environments amount to together."""
    published = bool(column.published)
    head = ["environment", "arm", "seeds", column.title, *([f"paper, {column.published_at}"] if published else [])]
    rows = []
    for env in results.envs:
        for arm in results.in_column(column):
            if arm.environment != env:
                continue
            spread = results.spread(arm, column)
            row = [
                short_name(env),
                arm.label,
                str(spread.count if spread else 0),
                str(spread) if spread else "not reached",
            ]
            if published:
                known = column.published.get((env, arm.label))
                row.append(f"{known[0]:,.1f} ± {known[1]:,.1f}" if known else NONE)
            rows.append(row)
    note = "Mean ± sample standard deviation over seeds; a score is the mean of an evaluation's episodes."
    if column.flops or column.equal_flops:
        note += " At a FLOPs budget, on the line between the evaluations before and after it."
    if column.equal_flops:
        note += " The budget is what the cheapest finished run of the environment spent."
    if published:
        note += " The paper's are of five seeds."
    parts = [
        f"<h2>{escape(column.title[0].upper() + column.title[1:])}</h2>",
        _table(head, rows, numbers=2),
        _note(note),
    ]
    return "\n".join([*parts, *_aggregates(results, column)])


def _aggregates(results: Results, column: Column) -> list[str]:
    found = results.aggregates(column)
    if not found:
        return [_note("No aggregates: no arm has a score here.")]
    note = (
        f"95% stratified bootstrap intervals ({RESAMPLES:,} resamples of the seeds, fixed generator), too narrow with "
        "few seeds, none with one. Normalised: on Atari 0 is a random agent and 1 a human; 0 to 1 is 0 to 1,000 points "
        "on DeepMind Control."
    )
    return [part for each in found for part in _aggregate(results, each, alone=len(found) == 1)] + [_note(note)]


def _aggregate(results: Results, each: Aggregate, *, alone: bool) -> list[str]:
    """Some arms over the environments that they share, and what couldn't be told of them."""
    first = each.rows[0].label
    head = ["arm", "interquartile mean, normalised", f"probability of improvement over {first}"]
    rows = [[row.label, *(NONE if x is None else _interval(x) for x in (row.mean, row.better))] for row in each.rows]
    names = ", ".join(map(short_name, each.environments))
    said = [f"Over {names}" + ("." if alone else ", which these arms share.")]
    if len(each.rows) == 1:
        head, rows = head[:2], [row[:2] for row in rows]
        said.append("No probability of improvement: no other arm has scores there.")
    if each.unknown:
        what = "No interquartile mean, no profile" if each.unknown == each.environments else "Only in the probability"
        names = ", ".join(map(short_name, each.unknown))
        said.append(f"{what}: {names}, as no reference scores to normalise by are known.")
    return [_table(head, rows, numbers=1), _note(" ".join(said)), *_profile(results, each)]


def _profile(results: Results, each: Aggregate) -> list[str]:
    lines, at = [], each.thresholds
    for row in each.rows:
        if row.profile is not None:
            share, low, high = row.profile.value, row.profile.low, row.profile.high
            says = [
                f"{row.label}: {y:.0%} ({a:.0%} to {b:.0%}) of runs above {x:.2f}"
                for x, y, a, b in zip(at, share, low, high, strict=True)
            ]
            lines.append(Line(row.label, *_look(results, row.label), at, share, low, high, says, marks=False))
    if not lines:
        return []
    panel = Panel("Performance profile", "normalised score", "share of runs above", lines, y_range=(0, 1))
    key = legend([(line.label, line.colour, line.shape) for line in lines])
    return [_figure([panel], key, "Bands: 95% stratified bootstrap intervals.")]


# Curves ----------------------------------------------------------------------------------------------------


def _curves(results: Results, x: XAxis) -> str:
    panels = [_panel(results, env, x) for env in results.envs]
    entries = {arm.label: (arm.label, *_look(results, arm.label)) for arm in results.arms}
    caption = (
        f"Bands: ± one standard deviation over {band(results.arms)}. "
        "Dashed: the freeze, a line for each step at which seeds froze."
    )
    return f"<h2>Score by {escape(AXIS_LABELS[x])}</h2>\n" + _figure(panels, legend(list(entries.values())), caption)


def _panel(results: Results, env: str, x: XAxis) -> Panel:
    lines, verticals = [], []
    for arm in results.arms:
        if arm.environment != env:
            continue
        scores, (colour, shape) = curve(arm, x), _look(results, arm.label)
        says = [
            f"{arm.label}: {mean:,.1f} ± {std:,.1f} at {_amount(at, x)}"
            for at, mean, std in zip(scores.x, scores.mean, scores.std, strict=True)
        ]
        low, high = scores.mean - scores.std, scores.mean + scores.std
        lines.append(Line(arm.label, colour, shape, scores.x, scores.mean, low, high, says))
        verticals += [
            (moment.x, colour, f"{arm.label}{_whose(arm, moment.runs)}: frozen at {_amount(moment.x, x)}")
            for moment in freezes(arm, x)
        ]
    return Panel(env, AXIS_LABELS[x], "score per episode", lines, verticals)


def _whose(arm: Arm, runs: Sequence[Run]) -> str:
    """Which seeds of an arm these are, unless they are all."""
    seeds = ", ".join(str(run.settings["seed"]) for run in runs)
    return "" if len(runs) == len(arm.runs) else f", seed{'s' if len(runs) > 1 else ''} {seeds}"


def _amount(value: float, x: XAxis) -> str:
    return f"{value:,.0f} {x}" if x != "flops" else f"{short(value)} FLOPs"


def _look(results: Results, label: str) -> tuple[str, int]:
    """Colour and shape of an arm, the same in every chart."""
    number = list(dict.fromkeys(arm.label for arm in results.arms)).index(label)
    return COLOURS[number % len(COLOURS)], number


def _illustration(each: Illustration) -> str:
    """A picture inside the page, with its table."""
    picture = base64.b64encode(each.picture.read_bytes()).decode()
    parts = [
        f"<h2>{escape(each.title)}</h2>",
        f'<figure><img alt="{escape(each.title)}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{escape(each.caption)}</figcaption></figure>",
    ]
    return "\n".join([*parts, _table(each.head, each.rows, numbers=1)] if each.head else parts)


def _figure(panels: Iterable[Panel], key: str, caption: str = "") -> str:
    charts = "\n".join(f"<div>{chart(panel)}</div>" for panel in panels)
    return f'<figure>{key}<div class="panels">{charts}</div><figcaption>{escape(caption)}</figcaption></figure>'


# Cost, settings, runs --------------------------------------------------------------------------------------


def _ledger(results: Results) -> str:
    parts = []
    for each in ledger(results.arms):
        rows = [[short_name(arm.environment), arm.label, *cells] for arm, cells in each.rows]
        parts += [
            f"<h2>{escape(each.title)}</h2>",
            _table(["environment", "arm", *each.head], rows, numbers=2),
            _note(each.note),
        ]
    return "\n".join(parts)


def _settings(results: Results) -> str:
    """Settings that all runs share, and those in which arms differ."""
    runs = [run for arm in results.arms for run in arm.runs]
    ignoring = UNCOMPARED - {"freeze.at", "agent"}
    names = sorted({name for run in runs for name in run.settings} - ignoring)
    differing = sorted(differing_settings(runs, ignoring=ignoring))
    parts = ["<h2>Settings</h2>"]
    if differing:
        rows = []
        for arm in results.arms:
            own = [
                ", ".join(dict.fromkeys(str(run.settings.get(name, NONE)) for run in arm.runs)) for name in differing
            ]
            rows.append([short_name(arm.environment), arm.label, *own])
        parts.append(_table(["environment", "arm", *differing], rows))
    values = {name: str(run.settings[name]) for run in runs for name in run.settings}
    shared = [[name, values[name]] for name in names if name not in differing]
    parts.append(f"<details><summary>the {len(shared)} settings that all share</summary>")
    parts.append(_table(["setting", "value"], shared) + "</details>")
    return "\n".join(parts)


def _runs(results: Results, start: Path) -> str:
    rows = []
    for arm in results.arms:
        for run in sorted(arm.runs, key=lambda run: int(run.settings["seed"])):
            last = run.of_kind("eval")[-1]
            where = os.path.relpath(run.folder, start)
            link = f'<a href="{escape(Path(where).as_posix(), quote=True)}/">{escape(run.folder.name)}</a>'
            state = "finished" if summary_of(run) else "not finished"
            row = [
                arm.environment,
                arm.label,
                str(run.settings["seed"]),
                state,
                f"{last['step']:,}",
                f"{last['mean']:,.1f}",
                *_freeze(run),
            ]
            rows.append([*map(escape, row), link])
    head = ["environment", "arm", "seed", "state", "last evaluation", "score", "frozen at", "why", "folder"]
    return "<h2>Runs</h2>\n" + _table(head, rows, escaped=True)


def _freeze(run: Run) -> list[str]:
    """The step at which a run's encoder was frozen, and why then; of an automatic freeze that never came, why not."""
    steps = [f"{record['step']:,}" for record in run.of_kind("freeze")]
    return [steps[0], why_frozen(run) or "as set"] if steps else ["never", why_frozen(run) or NONE]


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int | None = None, escaped: bool = False
) -> str:
    """A table; columns from `numbers` on align right. A phone shows the column's name beside each cell."""

    def kind(place: int) -> str:
        return ' class="number"' if numbers is not None and place >= numbers else ""

    names = [escape(name) for name in head]
    top = "".join(f"<th{kind(place)}>{name}</th>" for place, name in enumerate(names))
    lines = []
    for row in rows:
        cells = zip(names, row if escaped else map(escape, row), strict=True)
        parts = [f'<td{kind(n)} data-name="{name}"><span>{cell}</span></td>' for n, (name, cell) in enumerate(cells)]
        lines.append("<tr>" + "".join(parts) + "</tr>")
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _interval(estimate: Estimate) -> str:
    value, low, high = (float(bound) for bound in (estimate.value, estimate.low, estimate.high))
    return f"{value:.2f} ({low:.2f} to {high:.2f})" if low < high else f"{value:.2f}"  # one seed has no interval
