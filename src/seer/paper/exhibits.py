"""Every exhibit of the paper as data: what is compared, with which settings, over which axes, beside which numbers.

Source: SEER (Chen et al. 2021), figures 2 to 13 and table 1. Settings that aren't named here are the paper's by
preset. Runs are named by environment, variant and seed, so that exhibits that show the same runs share them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from seer.errors import SettingError
from seer.registry import Settings
from seer.reporting.curves import XAxis
from seer.reporting.results import Column
from seer.sweeps.grid import make_trial, short_name
from seer.sweeps.trial import Trial

Published = Mapping[str, tuple[tuple[float, float], ...]]
"""By environment, mean and standard deviation of five seeds of each variant."""


@dataclass(frozen=True)
class Pretraining:
    """A run without a freeze whose encoder another run starts from."""

    env: str
    steps: int


@dataclass(frozen=True)
class Variant:
    """One curve: settings on top of the preset, and those of some environments alone.

    flops: a run ends when it has spent so many multiply-adds, whatever its preset says of steps.
    """

    name: str
    label: str
    settings: Settings = field(default_factory=dict)
    per_env: Mapping[str, Settings] = field(default_factory=dict)
    pretraining: Pretraining | None = None
    flops: float | None = None

    def pretrained_for(self, length: Callable[[int], int]) -> "Variant":
        """Return the same variant after a pretraining of another length; name and label follow where they state it."""
        if self.pretraining is None:
            return self
        before, now = self.pretraining.steps, length(self.pretraining.steps)
        return replace(
            self,
            name=self.name.replace(f"{before}", f"{now}"),
            label=self.label.replace(f"{before:,}", f"{now:,}"),
            pretraining=replace(self.pretraining, steps=now),
        )

    def trials(self, env: str, seed: int, *, root: Path, common: Settings) -> list[Trial]:
        """Return the variant's run, behind the pretraining it needs; `common` settings override its own."""
        if env.startswith("dm_control/"):  # CURL has no priorities
            common = {name: value for name, value in common.items() if name != "replay.prioritized"}
        settings = {**self.settings, **self.per_env.get(env, {}), **common}
        if self.pretraining is None:
            return [make_trial(env, self.name, seed, settings)]
        steps = self.pretraining.steps
        first = {"freeze.at": "never", "steps": steps, **common}
        source = make_trial(self.pretraining.env, f"curl-for-{steps}", seed, first)
        settings["freeze.encoder_from"] = str(source.folder(root))
        return [source, make_trial(env, self.name, seed, settings, after=source.name)]


@dataclass(frozen=True)
class Comparison:
    """Variants that are compared on some environments."""

    envs: tuple[str, ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Small:
    """The exhibit in an evening on two cores: a share of the paper's steps, T_f, replay and FLOPs, and fewer seeds.

    `pretraining`: the share of a pretraining's steps, where `fraction` of them would hardly outlast the steps before
    the first update, which are not scaled.
    """

    envs: tuple[str, ...]
    seeds: int
    fraction: float = 0.2
    pretraining: float | None = None


@dataclass(frozen=True)
class Exhibit:
    """A figure or table of the paper, with columns of published scores.

    `analyses` are kinds of `seer analyze`, made of every finished run.
    """

    name: str
    title: str
    comparisons: tuple[Comparison, ...]
    axes: tuple[XAxis, ...]
    small: Small
    seeds: int = 5
    columns: tuple[Column, ...] = ()
    analyses: tuple[str, ...] = ()

    @property
    def envs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(env for comparison in self.comparisons for env in comparison.envs))

    @property
    def variants(self) -> dict[str, Variant]:
        return {variant.name: variant for comparison in self.comparisons for variant in comparison.variants}

    def only(self, envs: tuple[str, ...]) -> "Exhibit":
        """Return the exhibit with these of its environments, by id or short name; SettingError for any other."""
        known = {short_name(env): env for env in self.envs} | {env: env for env in self.envs}
        for env in envs:
            if env not in known:
                raise SettingError(f"--envs {env}: {self.name} has {', '.join(map(short_name, self.envs))}")
        chosen = {known[env] for env in envs}
        kept = (replace(each, envs=tuple(env for env in each.envs if env in chosen)) for each in self.comparisons)
        return replace(self, comparisons=tuple(each for each in kept if each.envs))

    def pretrained_for(self, length: Callable[[int], int]) -> "Exhibit":
        """Return the same exhibit with pretrainings of other lengths, given the paper's; names and labels follow."""
        changed = (
            replace(each, variants=tuple(variant.pretrained_for(length) for variant in each.variants))
            for each in self.comparisons
        )
        return replace(self, comparisons=tuple(changed))

    def trials(self, *, seeds: int, root: Path, common: Settings) -> list[Trial]:
        """Return its runs at the paper's scale, seed by seed, a pretraining before the runs that start from it.

        `common` settings override the exhibit's. The folders are those of a sweep in `root`.
        """
        every = (
            trial
            for seed in range(seeds)
            for comparison in self.comparisons
            for env in comparison.envs
            for variant in comparison.variants
            for trial in variant.trials(env, seed, root=root, common=common)
        )
        return list({trial.name: trial for trial in every}.values())


# Environments and variants --------------------------------------------------------------------------------

GAMES = ALIEN, _, BANK_HEIST, CRAZY_CLIMBER, _, QBERT, ROAD_RUNNER, SEAQUEST = tuple(
    f"ALE/{game}-v5"
    for game in ("Alien", "Amidar", "BankHeist", "CrazyClimber", "Krull", "Qbert", "RoadRunner", "Seaquest")
)
TABLE_GAMES = ALIEN, BANK_HEIST, CRAZY_CLIMBER, QBERT
CARTPOLE, FINGER, REACHER, CHEETAH, WALKER, HOPPER, STAND = map("dm_control/{}-v0".format, (
    "cartpole-swingup", "finger-spin", "reacher-easy", "cheetah-run", "walker-walk", "hopper-hop", "walker-stand",
))  # fmt: skip
TASKS = (CARTPOLE, FINGER, REACHER, CHEETAH, WALKER)
NEVER: Settings = {"freeze.at": "never"}

RAINBOW = Variant("rainbow", "Rainbow", NEVER)
RAINBOW_SEER = Variant("rainbow-seer", "Rainbow + SEER")
CURL = Variant("curl", "CURL", NEVER)
CURL_SEER = Variant("curl-seer", "CURL + SEER")
EQUAL_FLOPS = 45e12
SPENT_RAINBOW = replace(RAINBOW, name="rainbow-equal-compute", flops=EQUAL_FLOPS)
SPENT_RAINBOW_SEER = replace(RAINBOW_SEER, name="rainbow-seer-equal-compute", flops=EQUAL_FLOPS)

TASKS_SMALL = {CARTPOLE: (1000, 10_000), FINGER: (1000, 50_000), REACHER: (2000, 30_000), CHEETAH: (1000, 80_000),
               WALKER: (2000, 80_000)}  # fmt: skip
"""Replay capacity and T_f in small memory (appendix, DMControl settings)."""

# 10,000 frames are the paper's 0.07 GB; T_f where it isn't the preset's (appendix, Atari settings).
SMALL_RAINBOW = Variant("rainbow-0.07GB", "Rainbow, small memory", {"replay.capacity": 10_000, **NEVER})
SMALL_RAINBOW_SEER = Variant(
    "rainbow-seer-0.07GB", "Rainbow + SEER, small memory", {"replay.capacity": 10_000},
    {ALIEN: {"freeze.at": "100000"}, SEAQUEST: {"freeze.at": "150000"}},
)  # fmt: skip
SMALL_CURL = Variant(
    "curl-small", "CURL, small memory", NEVER,
    {env: {"replay.capacity": rows} for env, (rows, _) in TASKS_SMALL.items()},
)  # fmt: skip
SMALL_CURL_SEER = Variant(
    "curl-seer-small", "CURL + SEER, small memory", {},
    {env: {"replay.capacity": rows, "freeze.at": str(step)} for env, (rows, step) in TASKS_SMALL.items()},
)  # fmt: skip
GAMES_IN_SMALL_MEMORY = Comparison(
    GAMES, (SMALL_RAINBOW_SEER, SMALL_RAINBOW, replace(RAINBOW, label="Rainbow, no memory limit"))
)
TASKS_IN_SMALL_MEMORY = Comparison(TASKS, (SMALL_CURL_SEER, SMALL_CURL, replace(CURL, label="CURL, no memory limit")))

IMPALA = Variant("curl-impala", "CURL, IMPALA encoder", {"learning.encoder": "impala", **NEVER})
IMPALA_SEER = Variant("curl-impala-seer", "CURL + SEER, IMPALA encoder", {"learning.encoder": "impala"})
HALF_CURL = Variant("curl-half", "CURL, half resolution", {"image.size": 50, "image.crop_size": 42, **NEVER})
HALF_RAINBOW = Variant("rainbow-half", "Rainbow, half resolution", {"image.size": 42, **NEVER})

SOURCE = Pretraining(STAND, 60_000)
TRANSFER = Variant("curl-transfer", "CURL, frozen encoder of walker-stand", pretraining=SOURCE)
LAYERS = tuple(
    Variant(
        f"curl-transfer-{count}-layers", f"lowest {count} convolution{'s' if count > 1 else ''} frozen",
        {"freeze.layers": str(count)}, pretraining=SOURCE,
    )
    for count in (1, 2, 3, 4)
)  # fmt: skip
LENGTHS = tuple(
    Variant(f"curl-transfer-of-{steps}", f"pretrained for {steps:,} steps", pretraining=Pretraining(STAND, steps))
    for steps in (20_000, 40_000)
)

# Exhibits --------------------------------------------------------------------------------------------------

_SMALL_GAMES = (ALIEN, QBERT)


def _column(title: str, variants: tuple[Variant, ...], flops: float | None, published: Published) -> Column:
    """Return a column of scores after so many FLOPs (None: at the end), beside the published ones of `variants`."""
    labels = tuple(variant.label for variant in variants)
    known = {
        (env, label): score for env, scores in published.items() for label, score in zip(labels, scores, strict=True)
    }
    return Column(title, labels, flops=flops, published=known, published_at=title)


_COMPUTE = _column(
    "score at 45e12 FLOPs", (RAINBOW, RAINBOW_SEER), EQUAL_FLOPS,
    {
        ALIEN: ((992.0, 152.7), (1172.6, 239.0)), BANK_HEIST: ((145.8, 61.2), (276.6, 98.1)),
        CRAZY_CLIMBER: ((21580.0, 3514.6), (28066.0, 4108.5)), QBERT: ((2325.5, 1152.7), (4123.5, 1385.5)),
    },
)  # fmt: skip
_MEMORY = _column(
    "score at 500K steps in 0.07 GB", (SMALL_RAINBOW, SMALL_RAINBOW_SEER), None,
    {
        ALIEN: ((1038.4, 101.1), (1134.6, 452.9)), BANK_HEIST: ((161.6, 57.7), (151.8, 65.8)),
        CRAZY_CLIMBER: ((10498.0, 1387.8), (17620.0, 4418.4)), QBERT: ((2430.5, 658.8), (3231.0, 1567.6)),
    },
)  # fmt: skip
_EQUAL_MEMORY = Comparison(TABLE_GAMES, (SMALL_RAINBOW, SMALL_RAINBOW_SEER))
_FIG2 = Exhibit(
    "fig2", "CURL with and without SEER, by FLOPs", (Comparison(TASKS, (CURL, CURL_SEER)),), ("flops",),
    Small((CARTPOLE,), seeds=3),
)  # fmt: skip
_FIG3 = Exhibit(
    "fig3", "Rainbow with and without SEER, by FLOPs", (Comparison(GAMES, (RAINBOW, RAINBOW_SEER)),), ("flops",),
    Small((*_SMALL_GAMES, ROAD_RUNNER), seeds=3),
)  # fmt: skip
_TABLE1 = Exhibit(
    "table1", "Rainbow with and without SEER under equal compute and under equal memory",
    (Comparison(TABLE_GAMES, (RAINBOW, RAINBOW_SEER)), _EQUAL_MEMORY), ("flops", "steps"),
    Small(_SMALL_GAMES, seeds=3), columns=(_COMPUTE, _MEMORY),
)  # fmt: skip

_EXHIBITS = (
    _FIG2,
    _FIG3,
    _TABLE1,
    replace(
        _TABLE1, name="table1-compute",
        title="Rainbow with and without SEER under equal compute, each run to the same FLOPs",
        comparisons=(Comparison(TABLE_GAMES, (SPENT_RAINBOW, SPENT_RAINBOW_SEER)),), axes=("flops", "steps", "seconds"),
        columns=(_COMPUTE,),
    ),
    replace(
        _TABLE1, name="table1-memory", title="Rainbow with and without SEER under equal memory",
        comparisons=(_EQUAL_MEMORY,), axes=("flops", "steps", "seconds"), columns=(_MEMORY,),
    ),
    Exhibit(
        "fig4", "Rainbow in small memory, with and without SEER, and without a limit", (GAMES_IN_SMALL_MEMORY,),
        ("steps",), Small(_SMALL_GAMES, seeds=3),
    ),
    Exhibit(
        "fig5", "CURL in small memory, with and without SEER, and without a limit", (TASKS_IN_SMALL_MEMORY,),
        ("steps",), Small((CARTPOLE,), seeds=2),
    ),
    Exhibit(
        "fig6", "CURL with the larger IMPALA encoder, with and without SEER",
        (Comparison((CARTPOLE, WALKER), (IMPALA, IMPALA_SEER)),), ("flops", "steps"),
        Small((CARTPOLE,), seeds=2), seeds=3,
    ),
    Exhibit(
        "fig7", "Transfer of a frozen encoder from walker-stand to another task and another domain",
        (Comparison((WALKER, HOPPER), (CURL, TRANSFER)),), ("flops", "steps"),
        Small((WALKER, HOPPER), seeds=2, fraction=0.05, pretraining=0.1), seeds=3,
    ),
    Exhibit(
        "fig8", "How early the encoder settles: spatial attention and SVCCA of each layer",
        (Comparison((WALKER,), (replace(CURL, name="curl-snapshots", settings={**NEVER, "snapshot_every": 10_000}),)),),
        ("steps",), Small((WALKER,), seeds=1, fraction=0.1), analyses=("attention", "svcca"),
    ),
    Exhibit(
        "fig9", "Half the resolution beside SEER",
        (Comparison(TASKS, (CURL, CURL_SEER, HALF_CURL)), Comparison(GAMES, (RAINBOW, RAINBOW_SEER, HALF_RAINBOW))),
        ("flops", "steps"), Small((CARTPOLE, ALIEN), seeds=2),
    ),
    Exhibit(
        "fig10", "Transfer by number of frozen layers and by length of pretraining",
        (Comparison((WALKER, HOPPER), (TRANSFER, *LAYERS, *LENGTHS)),), ("steps", "flops"),
        Small((WALKER,), seeds=1, fraction=0.1, pretraining=0.25),
    ),
    Exhibit(
        "fig11", "Small memory with and without SEER, by FLOPs", (GAMES_IN_SMALL_MEMORY, TASKS_IN_SMALL_MEMORY),
        ("flops",), Small((ALIEN, CARTPOLE), seeds=1),
    ),
    replace(_FIG2, name="fig12", title="CURL with and without SEER, by steps", axes=("steps",)),
    replace(_FIG3, name="fig13", title="Rainbow with and without SEER, by steps", axes=("steps",)),
)  # fmt: skip

EXHIBITS: Mapping[str, Exhibit] = {exhibit.name: exhibit for exhibit in _EXHIBITS}
"""By name: fig2 to fig13, table1, and its halves table1-compute and table1-memory."""
