"""One HTML page about many runs, complete in itself: it needs no network, no second file, and no script to be read."""

import os
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from seer.envs.registry import normalized
from seer.errors import SettingError
from seer.reporting.aggregates import Aggregate
from seer.reporting.cost_tables import cost_tables
from seer.reporting.curves import UNCOMPARED, Run, XAxis, by_environment, curve, differing_settings, freezes, why_frozen
from seer.reporting.figures import inline_svg
from seer.reporting.files import write
from seer.reporting.page import Charts, Section, Table, render
from seer.reporting.plots import AXIS_LABELS, PANEL_INCHES, STYLE, band, draw_group, draw_line, finish_panel, look
from seer.reporting.results import Column, Results
from seer.reporting.statistics import RESAMPLES, Estimate
from seer.runs.folder import Record, read_summary
from seer.sweeps.grid import short_name

NONE, UNSCORED = "-", ["0", "not evaluated there"]  # it ended before the budget, or was first evaluated after it
SVG_STYLE = STYLE | {"svg.hashsalt": "seer", "font.size": 10, "figure.figsize": PANEL_INCHES}


def write_report(paths: Sequence[Path], *, out: Path) -> Path:
    """Write the page about the runs and sweeps in `paths` to `out`; SettingError where a path holds neither."""
    if out.suffix not in (".html", ".htm"):
        raise SettingError(f"--out {out} is no page: let it end in .html")
    title = str(paths[0]) if len(paths) == 1 else f"{len(paths)} runs and sweeps"
    return write_page(Results.of_folders(paths, title=title), out=out)


def write_page(results: Results, *, out: Path) -> Path:
    """Write the page about these results to `out`; return `out`."""
    write(out, page(results, start=out.parent).encode())
    return out


def page(results: Results, *, start: Path) -> str:
    """Return the whole page; links to run folders are relative to the folder `start`."""
    num_runs = sum(len(group.runs) for group in results.groups)
    shown = f"{num_runs} of {num_runs + len(results.missing)} runs are shown."
    differences = [Table(["what", "here", "in the paper"], results.differences)] if results.differences else []
    sections = []
    if absent := {**results.missing, **results.failures}:
        sections.append(Section("Not shown", [Table(["what", "why"], list(absent.items()))]))
    sections += results.illustrations
    if results.groups:
        sections += [_scores(results, column) for column in results.columns]
        sections += [_curves(results, x) for x in results.axes]
        sections += [Section(title, [table]) for title, table in cost_tables(results.groups)]
        sections += [_settings(results), _runs(results, start)]
    return render(results.title, [*differences, shown], sections)


# Scores ----------------------------------------------------------------------------------------------------


def _scores(results: Results, column: Column) -> Section:
    """Make a score table, with what was published beside it, and what all environments amount to together."""
    head = ["environment", "group", "seeds", column.title, "normalised"]
    head += [f"paper, {column.published_at}"] * bool(column.published)
    rows = []
    for group in by_environment(results.in_column(column)):
        spread = results.spread(group, column)
        row = [short_name(group.environment), group.label, *([str(spread.count), str(spread)] if spread else UNSCORED)]
        share = normalized(group.environment, spread.mean) if spread else None
        row.append(NONE if share is None else f"{share:.3f}")
        if column.published:
            known = column.published.get((group.environment, group.label))
            row.append(f"{known[0]:,.1f} ± {known[1]:,.1f}" if known else NONE)
        rows.append(row)
    note = "Mean ± sample standard deviation over seeds; a score is the mean of an evaluation's episodes."
    if column.flops or column.equal_flops:
        note += " At a FLOPs budget, on the line between the evaluations before and after it."
    if column.equal_flops:
        note += " The budget is what the cheapest finished run of the environment spent; where none is, any run so far."
    if column.published:
        note += " The paper's are of five seeds."
    if not (column.flops or column.equal_flops):
        note += _unfinished([run for group in results.in_column(column) for run in group.runs])
    found = results.aggregates(column)
    aggregates = [part for each in found for part in _aggregate(results, each, alone=len(found) == 1)]
    intervals = (
        f"95% stratified bootstrap intervals ({RESAMPLES:,} resamples of the seeds, fixed generator), too narrow with "
        "few seeds, none with one. Normalised: on Atari 0 is a random agent and 1 a human; 0 to 1 is 0 to 1,000 points "
        "on DeepMind Control."
    )
    last = intervals if found else "No aggregates: no group has a score here."
    return Section(column.title[0].upper() + column.title[1:], [Table(head, rows, 2, note), *aggregates, last])


def _unfinished(runs: Sequence[Run]) -> str:
    """Name the runs whose last evaluation isn't that of their end."""
    named = [f"{run.folder.name} (step {_last(run)['step']:,})" for run in runs if read_summary(run.folder) is None]
    return f" Not finished, so scored by their last evaluation so far: {', '.join(named)}." if named else ""


def _aggregate(results: Results, each: Aggregate, *, alone: bool) -> list[Table | Charts]:
    """Tabulate some groups over the environments that they share, and say which numbers are missing, and why."""
    first = each.rows[0].label
    head = ["group", "interquartile mean, normalised", f"probability of improvement over {first}"]
    rows = [[row.label, *(NONE if x is None else _interval(x) for x in (row.mean, row.better))] for row in each.rows]
    names = ", ".join(map(short_name, each.environments))
    said = [f"Over {names}" + ("." if alone else ", which these groups share.")]
    if len(each.rows) == 1:
        head, rows = head[:2], [row[:2] for row in rows]
        said.append("No probability of improvement: no other group has scores there.")
    if each.unknown:
        what = "No interquartile mean, no profile" if each.unknown == each.environments else "Only in the probability"
        names = ", ".join(map(short_name, each.unknown))
        said.append(f"{what}: {names}, as no reference scores to normalise by are known.")
    return [Table(head, rows, 1, " ".join(said)), *_profile(results, each)]


def _profile(results: Results, each: Aggregate) -> list[Charts]:
    """Draw the share of runs above each normalised score."""
    points, labels = {}, []
    with rc_context(SVG_STYLE):
        figure = Figure(layout="constrained")
        axes = figure.add_subplot(title="Performance profile", xlabel="normalised score", ylabel="share of runs above")
        axes.set_ylim(0, 1)
        for row in each.rows:
            if row.profile is not None:
                share, low, high = row.profile.value, row.profile.low, row.profile.high
                style = results.labels.index(row.label)
                draw_line(axes, each.thresholds, share, (low, high), style=style, label=row.label, gid="quiet")
                labels.append(row.label)
                points[f"quiet-{style}"] = [
                    f"{row.label}: {y:.0%} ({a:.0%} to {b:.0%}) of runs above {x:.2f}"
                    for x, y, a, b in zip(each.thresholds, share, low, high, strict=True)
                ]
        if not labels:
            return []
        chart = inline_svg(figure, "Performance profile", points)
    return [Charts([chart], _legend(results, labels), "Bands: 95% stratified bootstrap intervals.")]


# Curves ----------------------------------------------------------------------------------------------------


def _curves(results: Results, x: XAxis) -> Section:
    """Draw the learning curves, a chart per environment."""
    caption = (
        f"Bands: ± one standard deviation over {band(results.groups)}. "
        "Dashed: the freeze, a line for each step at which seeds froze."
    )
    charts = [_chart(results, env, x) for env in results.envs]
    return Section(f"Score by {AXIS_LABELS[x]}", [Charts(charts, _legend(results, results.labels), caption)])


def _chart(results: Results, env: str, x: XAxis) -> str:
    points = {}
    with rc_context(SVG_STYLE):
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        for group in results.groups:
            if group.environment != env:
                continue
            style, scores = results.labels.index(group.label), curve(group, x)
            draw_group(axes, group, style=style, x=x)
            points[f"line-{style}"] = [
                f"{group.label}: {mean:,.1f} ± {std:,.1f} at {_amount(at, x)}"
                for at, mean, std in zip(scores.x, scores.mean, scores.std, strict=True)
            ]
            for number, moment in enumerate(freezes(group, x)):
                whose = "" if len(moment.runs) == len(group.runs) else f", {_seeds(moment.runs)}"
                points[f"freeze-{style}-{number}"] = [f"{group.label}{whose}: frozen at {_amount(moment.x, x)}"]
        finish_panel(axes, env, x=x)
        return inline_svg(figure, env, points)


def _seeds(runs: Sequence[Run]) -> str:
    return f"seed{'s' if len(runs) > 1 else ''} {', '.join(str(run.settings['seed']) for run in runs)}"


def _amount(value: float, x: XAxis) -> str:
    return f"{value:,.0f} {x}" if x != "flops" else f"{value:.3g} FLOPs"


def _legend(results: Results, labels: Sequence[str]) -> list[tuple[str, str, str]]:
    looks = (look(results.labels.index(label)) for label in labels)
    return [(label, colour, symbol) for label, (colour, _, symbol) in zip(labels, looks, strict=True)]


# Settings and runs -----------------------------------------------------------------------------------------


def _settings(results: Results) -> Section:
    """Tabulate the settings in which groups differ, and those that all runs share."""
    runs = [run for group in results.groups for run in group.runs]
    ignoring = UNCOMPARED - {"freeze.at", "agent"}
    names = sorted({name for run in runs for name in run.settings} - ignoring)
    differing = sorted(differing_settings(runs, ignoring=ignoring))
    rows = []
    for group in results.groups:
        own = [", ".join(dict.fromkeys(str(run.settings.get(name, NONE)) for run in group.runs)) for name in differing]
        rows.append([short_name(group.environment), group.label, *own])
    values = {name: str(run.settings[name]) for run in runs for name in run.settings}
    shared = [[name, values[name]] for name in names if name not in differing]
    folded = Table(["setting", "value"], shared, summary=f"the {len(shared)} settings that all share")
    return Section("Settings", [*([Table(["environment", "group", *differing], rows)] * bool(differing)), folded])


def _runs(results: Results, start: Path) -> Section:
    """Tabulate the runs, each with a link to its folder."""
    rows = []
    for group in results.groups:
        for run in sorted(group.runs, key=lambda run: int(run.settings["seed"])):
            last = _last(run)
            where = Path(os.path.relpath(run.folder, start)).as_posix()
            rows.append([
                group.environment, group.label, str(run.settings["seed"]),
                "finished" if read_summary(run.folder) else "not finished", f"{last['step']:,}", f"{last['mean']:,.1f}",
                *_freeze(run), Markup('<a href="{}/">{}</a>').format(where, run.folder.name),
            ])  # fmt: skip
    head = ["environment", "group", "seed", "state", "last evaluation", "score", "frozen at", "why", "folder"]
    return Section("Runs", [Table(head, rows)])


def _last(run: Run) -> Record:
    """Return a run's last evaluation."""
    return run.of_kind("eval")[-1]


def _freeze(run: Run) -> list[str]:
    """Tell when a run's encoder was frozen, and why then; of an automatic freeze that never came, why not."""
    steps = [f"{record['step']:,}" for record in run.of_kind("freeze")]
    return [steps[0], why_frozen(run) or "as set"] if steps else ["never", why_frozen(run) or NONE]


def _interval(estimate: Estimate) -> str:
    value, low, high = (float(bound) for bound in (estimate.value, estimate.low, estimate.high))
    return f"{value:.2f} ({low:.2f} to {high:.2f})" if low < high else f"{value:.2f}"  # one seed has no interval
