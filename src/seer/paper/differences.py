"""Tell how a reproduction differs from the paper, as a table of its own settings beside the published ones."""

from collections.abc import Iterable, Sequence

from seer.agents.registry import AGENTS, agent_label
from seer.config import FIELDS, Config
from seer.fields import Value, value_of
from seer.paper.exhibits import Exhibit
from seer.paper.scale import Scale
from seer.sweeps.grid import short_name
from seer.sweeps.plan import Planned

HEAD = ("what", "here", "in the paper")
Row = tuple[str, str, str]


def differences(
    whole: Exhibit, exhibit: Exhibit, scale: Scale, planned: Sequence[Planned], published: Sequence[Config]
) -> list[Row]:
    """Return the differences that a reader has to know, as rows below `HEAD`.

    `exhibit` is the part of the `whole` one that is shown; `published` are the planned runs' settings in the paper.
    """
    size = {
        "paper": "as published",
        "small": f"{scale.fraction:g} of the paper's steps, freeze steps, replay capacity and FLOPs budgets",
        "toy": "300 steps of tiny networks: the scores mean nothing",
    }
    if any(variant.pretraining for variant in exhibit.variants.values()):
        size["small"] += f", {scale.pretraining:g} of its pretraining's steps"
    rows: list[Row] = [(f"scale {scale.name}", size[scale.name], "")]
    if len(exhibit.envs) < len(whole.envs):
        rows.append(("environments", ", ".join(map(short_name, exhibit.envs)), f"{len(whole.envs)}"))
    if scale.seeds != whole.seeds:
        rows.append(("seeds", str(scale.seeds), str(whole.seeds)))
    rows += [*_settings([each.config for each in planned], published), *_equal_compute(exhibit, scale, planned)]
    if scale.name == "small":
        rows += [*_unscaled(scale, planned, published), *_least_replays(scale, planned, published)]
    return [*rows, _replay(planned), *_partly_frozen(planned), *_pretraining(exhibit, planned)]


def print_differences(rows: Sequence[Row]) -> None:
    """Print the table, a line a row."""
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    for row in (HEAD, *rows):
        print("  ".join(["", *(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))]).rstrip())


def _settings(ours: Sequence[Config], published: Sequence[Config]) -> list[Row]:
    """Return the settings that a run has otherwise than the paper's run of its name."""
    rows = []
    for field in FIELDS:
        pairs = [(value_of(a, field.name), value_of(b, field.name)) for a, b in zip(ours, published, strict=True)]
        differing = [pair for pair in pairs if pair[0] != pair[1]]
        if differing:
            here, there = zip(*differing, strict=True)
            rows.append((f"--{field.flag}", _range(here), _range(there)))
    return rows


def _equal_compute(exhibit: Exhibit, scale: Scale, planned: Sequence[Planned]) -> list[Row]:
    """Return where runs end that have a number of FLOPs to spend, a row per variant."""
    rows = []
    for name, variant in exhibit.variants.items():
        if variant.flops is not None and scale.name != "toy":
            steps = _range(each.config.steps for each in planned if each.trial.variant == name)
            end = f"ends at {variant.flops * scale.fraction:.3g} FLOPs, by the cost formula after {steps} steps"
            rows.append((variant.label, end, f"read off at {variant.flops:.3g} FLOPs"))
    return rows


def _unscaled(scale: Scale, planned: Sequence[Planned], published: Sequence[Config]) -> list[Row]:
    """Return the counts of steps that are not scaled, and where they take the largest share of the time to learn."""
    rows = [("not scaled", "random actions, first update, target updates, exploration", "")]
    sources = {each.trial.after for each in planned}
    pairs = [(each.config, before) for each, before in zip(planned, published, strict=True)]
    freezing = [pair for pair in pairs if pair[0].freeze_step]
    pretraining = [pair for pair, each in zip(pairs, planned, strict=True) if each.trial.name in sources]
    for kind, alike in (("before a freeze", freezing), ("of a pretraining", pretraining)):
        if alike:
            config, before = max(alike, key=lambda pair: pair[0].first_update / _time_to_learn(pair[0]))
            share = f"{config.first_update:,} of the {_time_to_learn(config):,} steps {kind}, the most of all"
            there = _time_to_learn(before) / (scale.pretraining if alike is pretraining else 1)  # has its steps already
            where = f"before the first update on {short_name(config.env)}"
            rows.append((where, share, f"{before.first_update:,} of {there:,.0f}"))
    return rows


def _time_to_learn(config: Config) -> int:
    """Return the steps in which the encoder can learn, with those before the first update."""
    return config.freeze_step or config.steps


def _least_replays(scale: Scale, planned: Sequence[Planned], published: Sequence[Config]) -> list[Row]:
    """Return the replays that are larger than their share of the paper's."""
    rows = {}
    for each, before in zip(planned, published, strict=True):
        ours, share = each.config.replay.capacity, scale.share_of_replay(before)
        if ours is not None and ours != share:
            name = f"small replay of {short_name(each.config.env)}"
            why = f"{ours:,} frames, not {share:,}: a batch and an n-step window need as many"
            rows[name] = (name, why, f"{before.replay.capacity:,}")
    return list(rows.values())


def _replay(planned: Sequence[Planned]) -> Row:
    """Return the replay of the runs, and the flag for the other."""
    kinds: dict[str, set[str]] = {}
    for each in planned:
        kind = "prioritised" if each.config.replay.prioritized else "uniform"
        kinds.setdefault(kind, set()).add(agent_label(each.config.agent))
    here = " and ".join(f"{kind} for {' and '.join(sorted(agents))}" for kind, agents in kinds.items())
    return "replay", f"{here}; --replay sets it for Rainbow", "prioritised for Rainbow; in the authors' code uniform"


def _partly_frozen(planned: Sequence[Planned]) -> list[Row]:
    """Return the losses that layers above a cut learn without after the freeze."""
    agents = dict.fromkeys(each.config.agent for each in planned if each.config.freeze.layers != "all")
    lost = [AGENTS[agent].lost_above_cut for agent in agents]
    return [("layers above a cut", f"learn without {each}", "") for each in lost if each]


def _pretraining(exhibit: Exhibit, planned: Sequence[Planned]) -> list[Row]:
    """Return the cost of transfer with its pretraining, which no figure and no other table counts."""
    by_name = {each.trial.name: each for each in planned}
    rows: dict[str, Row] = {}
    for each in planned:
        if each.trial.after is not None:
            source = by_name[each.trial.after]
            name = f"pretraining on {short_name(source.trial.env)} for {source.config.steps:,} steps"
            rows[name] = (name, f"{source.flops:.3g} FLOPs, counted in no figure and no other table", "")
            name = f"{exhibit.variants[each.trial.variant].label}, {short_name(each.trial.env)}"
            both = each.flops + source.flops
            rows[name] = (name, f"{each.flops:.3g} FLOPs, with its pretraining {both:.3g}", "")
    return list(rows.values())


def _range(values: Iterable[Value]) -> str:
    """Return numbers as a range, anything else as a list."""
    known = list(dict.fromkeys(int(each) if isinstance(each, str) and each.isdecimal() else each for each in values))
    numbers = sorted(each for each in known if isinstance(each, int | float) and not isinstance(each, bool))
    if len(numbers) < len(known):
        return ", ".join(map(str, known))
    return f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"
