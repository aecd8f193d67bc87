"""What a reader has to know about a reproduction: how it differs from the paper, in sentences."""

from collections.abc import Iterable, Sequence

from seer.build import build_schedule
from seer.config import Config
from seer.paper.exhibits import Exhibit
from seer.paper.scale import MORE_OFTEN, Scale
from seer.reporting.curves import AGENT_NAMES
from seer.sweeps.grid import short_name
from seer.sweeps.plan import Planned


def statement(
    whole: Exhibit, exhibit: Exhibit, scale: Scale, planned: Sequence[Planned], published: Sequence[Config]
) -> list[str]:
    """One sentence an item.

    Args:
        whole: the exhibit as published; `exhibit` is what is shown of it.
        published: the settings of the planned runs before they were scaled.
    """
    said = [_size(whole, exhibit, scale)]
    if scale.name == "small":
        said += [_rhythm(planned, published), _unscaled(planned), *_floors(scale, planned, published)]
    return [*said, _replay(planned), *_partly_frozen(planned), *_pretraining(exhibit, planned)]


def _size(whole: Exhibit, exhibit: Exhibit, scale: Scale) -> str:
    said = []
    if scale.name == "small":
        said.append(f"{scale.fraction:g} of the paper's steps, freeze steps, replay capacity and FLOPs budgets")
        if any(variant.pretraining for comparison in exhibit.comparisons for variant in comparison.variants):
            said.append(f"{scale.pretraining:g} of its pretraining steps")
    elif scale.name == "toy":
        said.append("300 steps of tiny networks: the figures mean nothing")
    if len(exhibit.envs) < len(whole.envs):
        said.append(f"{', '.join(map(short_name, exhibit.envs))} of its {len(whole.envs)} environments")
    if scale.seeds != whole.seeds:
        said.append(f"{scale.seeds} seed{'s' if scale.seeds > 1 else ''} instead of {whole.seeds}")
    return f"Scale {scale.name}: {'; '.join(said) if said else 'as published'}."


def _rhythm(planned: Sequence[Planned], published: Sequence[Config]) -> str:
    ours = [each.config for each in planned]
    evaluations = [[config.eval_every for config in configs] for configs in (ours, published)]
    checkpoints = [[config.checkpoint_every for config in configs] for configs in (ours, published)]
    said = [f"evaluations {MORE_OFTEN} times a run, {_every(*evaluations)}", f"checkpoints {_every(*checkpoints)}"]
    snapshots = [[c.snapshot_every for c in configs if c.snapshot_every is not None] for configs in (ours, published)]
    if snapshots[0]:
        said.append(f"snapshots {_every(*snapshots)}")
    return f"How often: {'; '.join(said)}."


def _every(ours: Iterable[int], published: Iterable[int]) -> str:
    return f"every {_range(ours)} steps instead of {_range(published)}"


def _unscaled(planned: Sequence[Planned]) -> str:
    """What counts steps and stays as it is, and how much of the time to learn that takes where there is least."""
    sources = {each.trial.after for each in planned}
    said = {}
    for each in planned:
        config, agent = each.config, AGENT_NAMES[each.config.agent]
        start, target = build_schedule(config).first_update, config.learning.target_every
        if config.agent in ("sac", "curl"):
            said[agent] = (
                f"{agent} acts at random for {config.sac.random_steps:,} steps, learns from step {start:,} on, and "
                f"moves its target every {target:,} updates"
            )
        else:
            said[agent] = f"{agent} learns from step {start:,} on and renews its target every {target:,} updates"
    line = f"Not scaled: {'; '.join(said.values())}."
    freezing = [each for each in planned if each.config.freeze_step]
    pretraining = [each for each in planned if each.trial.name in sources]
    worst = [(group, max(group, key=_idle_share)) for group in (freezing, pretraining) if group]
    if worst:
        what = [
            f"{build_schedule(each.config).first_update:,} of the {_time_to_learn(each):,} steps "
            f"{'of a pretraining' if group is pretraining else 'before a freeze'} on {short_name(each.config.env)}"
            for group, each in worst
        ]
        line += f" So nothing is learnt yet in {' and '.join(what)}, the largest such share."
    return line


def _time_to_learn(each: Planned) -> int:
    """Steps of the encoder's learning, with those before the first update."""
    return each.config.freeze_step or each.config.steps


def _idle_share(each: Planned) -> float:
    return build_schedule(each.config).first_update / _time_to_learn(each)


def _floors(scale: Scale, planned: Sequence[Planned], published: Sequence[Config]) -> list[str]:
    """Where a replay is larger than its share of the paper's."""
    floors = {
        short_name(each.config.env): (each.config.replay.capacity, scale.share_of_replay(before))
        for each, before in zip(planned, published, strict=True)
        if each.config.replay.capacity not in (None, scale.share_of_replay(before))
    }
    return [
        f"The small replay of {env} holds {ours:,} frames instead of the {share:,} that the scale asks for: a batch "
        "and an n-step window need as many."
        for env, (ours, share) in floors.items()
    ]


def _replay(planned: Sequence[Planned]) -> str:
    """Which replay the runs use, and the flag for the other."""
    kinds: dict[str, set[str]] = {}
    for each in planned:
        kind = "prioritised" if each.config.replay.prioritized else "uniform"
        kinds.setdefault(kind, set()).add(AGENT_NAMES[each.config.agent])
    said = " and ".join(f"{kind} for {' and '.join(sorted(agents))}" for kind, agents in kinds.items())
    return f"Replay: {said}; --replay prioritized or uniform sets it for Rainbow (the authors' code is uniform)."


def _partly_frozen(planned: Sequence[Planned]) -> list[str]:
    """What CURL loses where layers above the cut go on learning."""
    partly = {
        each.trial.group for each in planned if each.config.agent == "curl" and each.config.freeze.layers != "all"
    }
    if not partly:
        return []
    return ["Layers that go on learning above a cut do so without CURL's contrastive loss, which ends at the freeze."]


def _pretraining(exhibit: Exhibit, planned: Sequence[Planned]) -> list[str]:
    """What transfer costs with the pretraining, which no figure and no table counts."""
    by_name = {each.trial.name: each for each in planned}
    labels = {variant.name: variant.label for comparison in exhibit.comparisons for variant in comparison.variants}
    sources: dict[str, str] = {}
    sums: dict[str, dict[str, str]] = {}
    for each in planned:
        if each.trial.after is None:
            continue
        source = by_name[each.trial.after]
        where, steps = short_name(source.trial.env), source.config.steps
        sources[source.trial.group] = f"{source.flops:.3g} for {steps:,} steps on {where}"
        cost = f"{each.flops:.3g} and {each.flops + source.flops:.3g}"
        sums.setdefault(short_name(each.trial.env), {})[labels[each.trial.group]] = cost
    if not sums:
        return []
    return [
        f"The FLOPs of a pretraining are counted in no figure and no table: {', '.join(sources.values())}.",
        *(
            f"FLOPs of a run on {env} without and with its pretraining: "
            f"{'; '.join(f'{label}: {cost}' for label, cost in groups.items())}."
            for env, groups in sums.items()
        ),
    ]


def _range(numbers: Iterable[int]) -> str:
    known = sorted(set(numbers))
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
