"""The report's tables of compute and memory, from the summaries of finished runs."""

from finished_runs import ATARI_100K
from seer.reporting.cost_tables import cost_tables
from seer.reporting.curves import Group, Run


def group(*names: str) -> Group:
    return Group("ALE/Alien-v5", "auto", [Run(ATARI_100K / name, {}, []) for name in names])


def cells(*names: str) -> dict[str, str]:
    return {
        column: cell
        for _, table in cost_tables([group(*names)])
        for column, cell in zip(table.head, table.rows[0], strict=True)
    }


def test_what_is_after_the_freeze_is_of_the_runs_that_froze() -> None:
    """Where `auto` froze one run of two, half of the change isn't what the freeze changes."""
    frozen, mixed, never = cells("Alien-frozen-0"), cells("Alien-frozen-0", "Alien-never-0"), cells("Alien-never-0")
    assert frozen["FLOPs a step"] == mixed["FLOPs a step"] == "2.93e+08 → 9e+07"
    assert frozen["bytes a stored step"] == mixed["bytes a stored step"] == "7,056 → 2,304"
    assert frozen["capacity in steps"] == mixed["capacity in steps"] == "100,000 → 306,250"
    assert (frozen["updates a second"], mixed["updates a second"]) == ("51 → 80", "49 → 80")
    assert (frozen["of never freezing"], mixed["of never freezing"], never["of never freezing"]) == (
        "65%",
        "82%",
        "100%",
    )
    assert (never["FLOPs a step"], never["bytes a stored step"]) == ("2.93e+08", "7,056")
