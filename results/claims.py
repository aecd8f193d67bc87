"""The paper's claims, each with our figure and a plain answer: the table of the page, and its short form."""

from collections.abc import Sequence
from dataclasses import dataclass

import control
from atari import COMPUTE, FRACTIONS, MEMORY, SHARE, TABLE1, Half, Setup, best, setups, step_comparisons
from compare import Comparison, Together, change, flops, table
from evidence import EVALUATIONS, costs, digest, folders, table_of
from seer.paper.exhibits import EQUAL_FLOPS

PAGE = "docs/does_it_work.md"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, what it reports, what we measured, on which runs, the answer, and what else there is."""

    claim: str
    paper: str
    here: str
    runs: str
    answer: str
    besides: str = ""


def claims() -> list[Claim]:
    """Return the four claims, then what the method saves and what a transferred encoder gains."""
    return [_steps(), _table1(COMPUTE), _table1(MEMORY), _control(), _cost(), _transfer()]


def claims_block() -> str:
    """Return the table of all claims."""
    rows = [
        [f"**{each.claim}**", each.paper, each.here, each.runs, "; ".join(filter(None, [each.answer, each.besides]))]
        for each in claims()
    ]
    return table(["claim", "the paper", "here", "our runs", "answer"], rows)


def short_block() -> str:
    """Return the four claims in a line each, for the README."""
    lines = [
        f"- **{each.claim}?** {_capital(each.answer)} ({each.runs})."
        + (f" {_capital(each.besides)}." if each.besides else "")
        for each in claims()[:4]
    ]
    return "\n".join([*lines, "", f"Tables, yardsticks and what is missing: [Does it work?]({PAGE})"])


def data_block() -> str:
    """Return what all of this was computed from, with a checksum that changes with any figure."""
    rows = [
        [f"[{name}](../results/{name}/README.md)", len(costs(name)), len(table_of(f"{name}/{EVALUATIONS}")) or "-"]
        for name in folders()
    ]
    sums = [[*row, digest([name])] for row, name in zip(rows, folders(), strict=True)]
    sums.append(["[yardsticks](../results/yardsticks.csv)", "-", "-", digest([""])])
    return table(["exhibit", "runs", "evaluations", "checksum"], sums)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _together(comparisons: Sequence[Comparison]) -> Together:
    found = Together.of(comparisons)
    assert found is not None
    return found


def _differences(comparisons: Sequence[Comparison]) -> str:
    return ", ".join(f"{each.game} {change(each.difference, 1)}" for each in comparisons if each.seeds)


def _seeds(comparisons: Sequence[Comparison]) -> str:
    seeds = [each.seeds for each in comparisons if each.seeds]
    least, most = min(seeds), max(seeds)
    return _count(least, "seed") if least == most else f"{least} to {most} seeds"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}"


def _steps() -> Claim:
    found = list(step_comparisons().values())
    comparisons = next((each for each in found if _together(each).seeds[1] > 1), found[0])  # one seed decides nothing
    together = _together(comparisons)
    longest = max(each.steps for each in comparisons)
    return Claim(
        "As good at equal steps",
        "level (figure 13)",
        f"{_differences(comparisons)}; {together.improvement}",
        f"{_count(len(comparisons), 'game')}, {_seeds(comparisons)}, {longest:,} steps",
        together.verdict,
    )


def _table1(half: Half) -> Claim:
    setup = best(half)
    together = setup.together
    assert together is not None
    published = []
    complete = [each for each in setup.comparisons if each.seeds]
    for each in complete:
        (never, _), (frozen, _) = half.published(each.env)
        published.append(f"{each.game} {100 * (frozen / never - 1):+.0f}%")
    return Claim(
        "Better at equal compute" if half is COMPUTE else "Better in equal memory",
        f"{', '.join(published)} (table 1)",
        f"{_differences(setup.comparisons)}; {together.improvement}",
        f"{len(complete)} of {len(TABLE1.envs)} games, {_seeds(complete)}, {_length(half, setup)}",
        together.verdict,
        _longer(half, setup),
    )


def _length(half: Half, setup: Setup) -> str:
    if half is COMPUTE:
        short = flops(setup.budget) != flops(EQUAL_FLOPS)
        return f"{flops(setup.budget)} FLOPs" + (
            f" where the paper has {flops(EQUAL_FLOPS)}" if short else ", as in the paper"
        )
    return f"{max(run.settings['steps'] for run in setup.every):,} steps"


def _longer(half: Half, setup: Setup) -> str:
    """Say what there is at the paper's length, where `setup` is shorter."""
    if setup.share == 1:
        return ""
    for longer in setups(half):
        if longer.share == 1 and longer.together is not None:
            return f"at the paper's length {_seeds(longer.comparisons)} so far: {_differences(longer.comparisons)}"
    return f"not shown at the paper's length, as runs are {FRACTIONS[SHARE]} as long"


def _control() -> Claim:
    pair = control.first()
    at_steps = _together([pair.steps])
    here = f"At equal steps {change(pair.steps.difference, pair.seeds)}"
    answer = f"at equal steps {at_steps.verdict}"
    if pair.flops is not None:
        here += f", at equal FLOPs {change(pair.flops.difference, pair.seeds)}"
        answer += f"; at equal FLOPs {_together([pair.flops]).verdict}"
    return Claim(
        "The same for CURL on DeepMind Control",
        "level at equal steps, ahead at equal compute (figures 2 and 12)",
        here,
        f"{pair.steps.game}, {_seeds([pair.steps])}, frozen at {pair.frozen_at:,} of {pair.lengths} steps, {pair.name}",
        answer,
    )


def _cost() -> Claim:
    rainbow, rainbow_bytes, curl, curl_bytes = control.shares()
    return Claim(
        "Less compute and memory a step",
        "shown for both",
        f"A frozen step costs {rainbow} of the FLOPs and {rainbow_bytes} of the bytes (Rainbow), {curl} and "
        f"{curl_bytes} (CURL, small pictures)",
        "counted by every run",
        "yes",
    )


def _transfer() -> Claim:
    budget, scratch, transferred, _ = control.transfer_scores()
    return Claim(
        "An encoder serves another task",
        "ahead at equal compute (figure 7)",
        f"{transferred:.0f} against {scratch:.0f} from scratch at {flops(budget)} FLOPs",
        "walker-walk, one seed",
        "one seed, which decides nothing; the pretraining isn't counted",
    )
