"""What the runs of Rainbow say: at equal compute and in equal memory (table 1), and at equal steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean

from compare import Comparison, Together, by_environment, change, flops, mean_and_deviation, same_seeds, table
from evidence import (
    LATE,
    at_flops,
    frozen_at,
    last_score,
    late_score,
    late_score_at_flops,
    length,
    runs,
    score_at_flops,
    table_of,
)
from seer.paper.exhibits import EQUAL_FLOPS, EXHIBITS, RAINBOW, RAINBOW_SEER, SMALL_RAINBOW, SMALL_RAINBOW_SEER
from seer.reporting.curves import Run
from seer.sweeps.grid import short_name

TABLE1 = EXHIBITS["table1"]
SHARE = TABLE1.small.fraction
PAPER_STEPS, STEPS_100K, PAPER_FREEZE = 500_000, 100_000, 50_000
FRACTIONS = {0.2: "a fifth"}
BASES = sorted((name for half in ("table1-compute", "table1-memory", "table1") for name in EXHIBITS[half].variants),
               key=len, reverse=True)  # fmt: skip


@dataclass(frozen=True)
class Half:
    """One half of table 1: the variants that it compares, each by all names that it has, and the paper's column."""

    never: tuple[str, str]
    frozen: tuple[str, str]
    column: int

    def published(self, env: str) -> list[tuple[float, float]]:
        """Return mean and standard deviation of the paper's never frozen and frozen agents."""
        column = TABLE1.columns[self.column]
        return [column.published[env, label] for label in column.groups]


COMPUTE = Half((RAINBOW.name, "rainbow-equal-compute"), (RAINBOW_SEER.name, "rainbow-seer-equal-compute"), 0)
MEMORY = Half((SMALL_RAINBOW.name,) * 2, (SMALL_RAINBOW_SEER.name,) * 2, 1)


@dataclass(frozen=True, eq=False)  # by identity, as a key
class Setup:
    """The runs of one half of table 1 at one scale, with one kind of replay."""

    half: Half
    rest: str  # of the variants' names: "", or words that --suffix of add.py gave, "small" among them
    comparisons: Sequence[Comparison]
    every: Sequence[Run]

    @property
    def share(self) -> float:
        """Return the lengths as a share of the paper's."""
        return SHARE if "small" in self.rest.split("-") else 1.0

    @property
    def budget(self) -> float:
        return EQUAL_FLOPS * self.share

    @property
    def together(self) -> Together | None:
        return Together.of(self.comparisons)

    @property
    def lengths(self) -> str:
        """Return in words how long these runs are."""
        return "the paper's lengths" if self.share == 1 else f"{FRACTIONS[self.share]} of the paper's lengths"

    @property
    def replay(self) -> str:
        return "prioritised" if self.every[0].settings["replay.prioritized"] else "uniform"


def setups(half: Half) -> list[Setup]:
    """Return what there is of one half, the paper's lengths and most runs first."""
    found: dict[str, list[Run]] = {}
    for run in runs("table1").values():
        base, rest = _split(run.label)
        if base in half.never + half.frozen:
            found.setdefault(rest, []).append(run)
    made = [_setup(half, rest, group) for rest, group in found.items()]
    return sorted(made, key=lambda setup: (-setup.share, -sum(each.seeds for each in setup.comparisons)))


def _split(variant: str) -> tuple[str, str]:
    """Return a variant of table 1 by its name there, and the rest of its name here."""
    for base in BASES:
        if variant == base or variant.startswith(f"{base}-"):
            return base, variant[len(base) + 1 :]
    raise ValueError(f"table1 has no variant {variant}")


def _setup(half: Half, rest: str, group: Sequence[Run]) -> Setup:
    budget = Setup(half, rest, [], group).budget

    def score(run: Run) -> float | None:
        return score_at_flops(run, budget) if half is COMPUTE else last_score(run, run.settings["steps"])

    never, frozen = ([run for run in group if _split(run.label)[0] in names] for names in (half.never, half.frozen))
    return Setup(half, rest, by_environment(never, frozen, score), group)


def best(half: Half) -> Setup:
    """Return the setup to speak of first: the longest that has scores of both kinds, of more than one seed if any."""
    found = {setup: setup.together.seeds for setup in setups(half) if setup.together is not None}
    return next((setup for setup, (_, most) in found.items() if most > 1), next(iter(found)))


def table1_block(half: Half) -> str:
    """Return the tables of one half of table 1, longest runs first, with what is missing named."""
    found = setups(half)
    parts = [_setup_text(setup) for setup in found]
    if all(setup.share < 1 for setup in found):
        parts.insert(0, f"Runs of the paper's lengths ({PAPER_STEPS:,} steps) aren't here yet.")
    return "\n\n".join(parts)


def _setup_text(setup: Setup) -> str:
    rows = []
    for each in setup.comparisons:
        published = [f"{mean:,.0f} ± {std:,.0f}" for mean, std in setup.half.published(each.env)]
        rows.append([
            each.game, each.seeds_text, each.steps_of_freeze, *each.texts, change(each.difference, each.seeds),
            *published,
        ])  # fmt: skip
    where = (
        f"score at {flops(setup.budget)} FLOPs"
        if setup.half is COMPUTE
        else f"score at {PAPER_STEPS * setup.share:,.0f} steps, replay of {_replay_megabytes(setup)} MB"
    )
    head = ["game", "seeds", "frozen at", "Rainbow", "Rainbow + SEER", "difference", "paper: Rainbow", "paper: + SEER"]
    lines = [f"At {setup.lengths}, {setup.replay} replay, {where}:", "", table(head, rows)]
    if setup.together is not None:
        lines += ["", setup.together.sentence]
    late = _late_text(setup) if setup.half is COMPUTE and setup.together is not None else []
    return "\n".join(lines + late + _gaps(setup))


def _late_text(setup: Setup) -> list[str]:
    """Return the same comparison by the mean of many evaluations, and the steps and seconds that these FLOPs took."""
    rows = []
    for complete in (each.finished for each in setup.comparisons if each.seeds):
        each = replace(complete, score=partial(late_score_at_flops, budget=setup.budget))
        took = [
            f"{mean(at_flops(run, setup.budget, name) for run in side):,.0f}"
            for name in ("step", "wall_seconds")
            for side in (each.never, each.frozen)
        ]
        rows.append([each.game, *each.texts, change(each.difference, each.seeds), *took])
    head = ["game", "Rainbow", "Rainbow + SEER", "difference", "steps: Rainbow", "+ SEER", "seconds: Rainbow", "+ SEER"]
    begin = f"One evaluation is noisy; mean of those in the last {1 - LATE:.0%} of the FLOPs, and what these took:"
    return ["", begin, "", table(head, rows)]


def _replay_megabytes(setup: Setup) -> str:
    sizes = {run.settings["replay.capacity"] * run.settings["image.size"] ** 2 / 1e6 for run in setup.every}
    return " and ".join(f"{size:.0f}" for size in sorted(sizes))


def _gaps(setup: Setup) -> list[str]:
    """Say which of the paper's games have no run yet, and which runs have no score."""
    there = {each.env for each in setup.comparisons}
    unfinished = [run for each in setup.comparisons for run in (*each.never, *each.frozen) if each.score(run) is None]
    said = []
    if absent := [short_name(env) for env in TABLE1.envs if env not in there]:
        said.append(f"Not here: {', '.join(absent)}.")
    if unfinished:
        names = (f"{run.folder.name} (at step {length(run):,})" for run in unfinished)
        said.append(f"Without such a score: {', '.join(names)}.")
    return ["", " ".join(said)] if said else []


# Equal steps -----------------------------------------------------------------------------------------------------


def step_comparisons() -> Mapping[str, Sequence[Comparison]]:
    """Return what was compared at equal steps, by a description; the longest runs first."""
    return _of_the_papers_length() | _of_100k_steps()


def _of_the_papers_length() -> dict[str, Sequence[Comparison]]:
    """Compare the runs of table 1 until those that are never frozen end."""
    found: dict[str, Sequence[Comparison]] = {}
    for setup in setups(COMPUTE):
        if setup.share == 1 and setup.together is not None:
            complete = [each.finished for each in setup.comparisons if each.seeds]
            found[f"the paper's step, {setup.replay} replay"] = [
                replace(each, score=partial(late_score, length=each.steps)) for each in complete
            ]
    return found


def _of_100k_steps() -> dict[str, Sequence[Comparison]]:
    hundred, fifth = runs("rainbow-100k"), runs("table1")
    never = [run for run in hundred.values() if run.label == "never"]
    never += [run for run in fifth.values() if run.label == "rainbow-small"]
    frozen = [run for run in hundred.values() if not run.label.endswith("earlier") and frozen_at(run) is not None]
    groups = {
        "a given step": [run for run in frozen if frozen_at(run) == PAPER_FREEZE],
        "the step that `auto` found": [run for run in frozen if run.settings["freeze.at"] == "auto"],
        "a fifth of the paper's step": [run for run in fifth.values() if run.label == "rainbow-seer-small"],
    }
    found: dict[str, Sequence[Comparison]] = {
        name: by_environment(same_seeds(never, group), group, _late) for name, group in groups.items()
    }
    earlier = [run for run in hundred.values() if run.label.endswith("earlier")]
    before, after = ([run for run in earlier if (frozen_at(run) is None) == is_never] for is_never in (True, False))
    found["a given step, earlier code"] = by_environment(before, after, _late)
    return found


def _late(run: Run) -> float | None:
    return late_score(run, STEPS_100K)


def steps_block() -> str:
    """Return the comparison at equal steps, with the yardstick."""
    yardsticks = {(row["env"], row["at"]): row for row in table_of("yardsticks.csv") if row["source"] == "K"}
    rows, sentences = [], []
    for name, comparisons in step_comparisons().items():
        for each in comparisons:
            known = yardsticks.get((each.env, str(each.steps)))
            rows.append([
                name, each.game, each.steps_of_freeze, f"{each.steps:,}", each.seeds_text, *each.texts,
                change(each.difference, each.seeds), "-" if known is None else _published(known),
            ])  # fmt: skip
        together = Together.of(comparisons)
        assert together is not None
        games = ", ".join(each.game for each in comparisons)
        sentences.append(f"- Frozen at {name} ({games}): {together.conclusion}.")
    head = ["freeze", "game", "frozen at", "steps", "seeds", "never frozen", "frozen", "difference", "yardstick"]
    title = (
        f"Rainbow, mean of the evaluations in the last {1 - LATE:.0%} of so many steps (the paper: {PAPER_STEPS:,}):"
    )
    return "\n".join([title, "", table(head, rows), "", *sentences])


def never_frozen_block() -> str:
    """Return the never frozen agents beside published ones."""
    known = {(row["source"], row["env"]): row for row in table_of("yardsticks.csv")}
    rows = []
    for env in dict.fromkeys(row["env"] for row in known.values() if row["agent"] == "rainbow"):
        published = [_published(known["K", env]), _published(known["vH", env]), _published(known["D", env])]
        ours = [
            f"{mean_and_deviation(scores)} ({name}, {len(scores)} seeds)" for name, scores in _never_scores(env).items()
        ]
        rows.append([short_name(env), *published, "; ".join(ours)])
    return table(["game", "K", "vH", "D", "ours"], rows)


def _never_scores(env: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    names = {
        "never": "today",
        "rainbow-small": "today",
        "never-earlier": "earlier",
        "float32": "float32, as first written",
    }
    for run in [*runs("rainbow-100k").values(), *runs("table1").values()]:
        if run.settings["env"] == env and run.label in names and (score := _late(run)) is not None:
            found.setdefault(names[run.label], []).append(score)
    return found


def _published(row: Mapping[str, str]) -> str:
    return f"{float(row['mean']):,.0f}" + (f" ± {float(row['std']):,.0f}" if row["std"] else "")
