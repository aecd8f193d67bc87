"""Every setting of a run, as frozen dataclasses: what it means, its unit, its source.

Sources: SEER (Chen et al. 2021), DER (data-efficient Rainbow, van Hasselt et al. 2019), Rainbow (Hessel et al.
2018), DQN (Mnih et al. 2015). A step is one agent decision, a frame one tick of the game, an update one gradient
step. The command line makes one flag of each field; `presets.py` fills in the paper's values per environment.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from seer.agents.registry import AGENTS
from seer.agents.settings import LearningConfig, OwnSettings, SacConfig, ValueConfig, known_learning
from seer.core.freeze_rules import FreezeChoice, FreezeRule, parse_freeze_at
from seer.envs.registry import suite_of
from seer.errors import SettingError
from seer.fields import Bounds, Count, Field, Flag, Fraction, OptionalCount, fields_of, value_of
from seer.runs.outputs import OUTPUTS

LatentDtype = Literal["float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True)
class ReplayConfig:
    """Replay memory."""

    memory: Annotated[str | None, Flag("replay-memory", "BYTES")] = None
    """Memory for observations, before and after the freeze: 70MB, 1.5GB or 64MiB. Instead of --replay-capacity."""

    capacity: Annotated[int | None, Flag("replay-capacity")] = None
    """Memory for observations, as the frames that it holds before the freeze (SEER: --steps; 10,000 in small memory).
    Default: --steps, or what holds the frames until --freeze-at N and the latents of all steps, if that is less."""

    prioritized: bool = True
    """Prioritised replay; otherwise uniform (the authors' published code is uniform)."""

    priority_exponent: Fraction = 0.5
    """Exponent on priorities (Rainbow, table 1)."""

    importance_exponent: Fraction = 0.4
    """Exponent of the importance weights at the start; rises linearly to 1 at the end (Rainbow, table 1)."""

    n_step: Annotated[int, Bounds(above=0, at_most=10_000)] = 20
    """Steps of the return (DER, table 1)."""


@dataclass(frozen=True)
class ImageConfig:
    """What the agent sees."""

    size: Annotated[int, Flag("image-size"), Bounds(above=0, at_most=1024)] = 84
    """Side in pixels of the frames that are stored (SEER: 84 on Atari, rendered at 100 on DeepMind Control)."""

    crop_size: Annotated[int | None, Bounds(above=0, at_most=1024)] = None
    """Side in pixels of what the encoder sees: random crops in training, the centre in acting (SEER: 84 for CURL).
    None is the whole image, as for Rainbow and DQN."""

    stack: Annotated[int, Flag("frame-stack"), Bounds(above=0, at_most=64)] = 4
    """Frames in an observation (SEER: 4 on Atari, 3 on DeepMind Control)."""

    action_repeat: Annotated[int, Bounds(above=0, at_most=1000)] = 4
    """Simulator frames per step (SEER: 4 on Atari, by task on DeepMind Control)."""

    render_pixels: bool = False
    """Show the agent what a Gymnasium environment renders, in place of its observations."""

    cameras: Annotated[tuple[str, ...], Flag(value="KEY|KEY=SIZE", alias="image-key")] = ()
    """Which pictures of a Gymnasium environment's Dict observations the agent sees; all by default. KEY/KEY is a part
    of a Dict within it; KEY=SIZE makes frames of so many pixels a side, in place of --image-size."""

    vectors: Annotated[tuple[str, ...], Flag(value="KEY|all|none")] = ()
    """Which vectors, such as joint states, the agent sees beside pictures; a Discrete choice counts as one. Default:
    all of a Gymnasium environment's Dict observations; none with --render-pixels and on DeepMind Control."""

    channels: Annotated[Literal["auto", "grey", "rgb"], Flag("image-channels")] = "auto"
    """Frames of a Gymnasium environment. auto: grey with Rainbow and DQN, RGB with SAC and CURL if it shows colours."""


@dataclass(frozen=True)
class FreezeConfig:
    """The freeze (SEER, algorithm 1)."""

    at: Annotated[str, Flag("freeze-at", "N|auto|never|MODULE:CLASS")] = "50000"
    """Training step T_f at which the encoder is frozen and the replay turned into latents, or never. auto: as soon as
    its features have settled and the score has left its floor; MODULE:CLASS: as a rule of your own decides. With
    --from, --encoder-from or --encoder-factory the default is 0: from the start."""

    num_crops: Annotated[int, Bounds(above=0, at_most=256)] = 1
    """Crops of each observation whose latents are stored, K (SEER: 4). 1 where the agent crops nothing."""

    latent_dtype: LatentDtype = "float32"
    """What stored latents are kept as (SEER: float32). Smaller ones leave room for more of them in the same memory, or
    need less; the freeze reports the error. int8: the range that each dimension has at the freeze, in 255 steps."""

    latent_pool: OptionalCount = None
    """For encoders with wide outputs, whose latents would hardly be smaller than frames: average the last maps down to
    N x N, from the first step on. Not with SAC's and CURL's own encoders, whose latents are small anyway."""

    layers: Annotated[str, Flag("freeze-layers", "K|all")] = "all"
    """Lower layers of the encoder that are frozen: the first K, or all (SEER: every convolution and, for SAC and CURL,
    the projections above them, which count as one layer; a section of the IMPALA encoder counts as one too). A module
    of --encoder-factory is one layer, or as many as its nn.Sequential has."""

    encoder_from: Annotated[str | None, Flag(value="RUN")] = None
    """Start with the encoder of another run: a run folder, or one of its snapshots (SEER, section 5.4). Its lowest
    --freeze-layers are frozen from the start; those above go on learning."""

    agent_from: Annotated[str | None, Flag("from", "RUN")] = None
    """Start with the whole agent of another run, a run folder, and with its settings where no flag changes them, --env
    included. Exploration goes on where it stood there; the encoder is frozen from the start unless --freeze-at says
    otherwise."""

    keep_optimizers: bool = False
    """With --from: go on with that run's optimisers (Adam's moments) too, at this run's learning rate."""

    encoder_factory: Annotated[str | None, Flag(value="MODULE:CALLABLE")] = None
    """Your own encoder in place of --encoder: an importable callable without arguments that makes a torch.nn.Module, or
    a list of them, from images [B, frames times channels, H, W] in [0, 1] to features. Frozen from the start unless
    --freeze-at says otherwise; with N, auto or never it learns first."""

    encoder_weights: Annotated[str | None, Flag(value="FILE")] = None
    """Safetensors file with that module's weights, to start with."""

    similarity: Annotated[Fraction, Flag("freeze-similarity")] = 0.985
    """auto: features hardly change while their linear CKA with those of the probe before is at least this."""

    patience: Annotated[Count, Flag("freeze-patience")] = 3
    """auto: features have settled when they hardly changed at so many probes in a row at least, and ever since half of
    the present step. The score must have risen at so many in a row too."""

    earliest: Annotated[int, Flag("freeze-earliest"), Bounds(at_least=0)] = 5000
    """auto: probes before this step don't count."""

    latest: Annotated[int | None, Flag("freeze-latest")] = None
    """auto: freeze at this step whatever features and score say; without it a run may never freeze."""

    probe_every: Count = 2500
    """Steps between probes: before the freeze of how much the features change (auto only), afterwards of observations
    and heads."""

    probe_size: Annotated[int, Bounds(at_least=2, at_most=65_536)] = 256
    """Observations of a probe, spread over the newest --probe-every."""

    @property
    def choice(self) -> FreezeChoice:
        """When to freeze, read."""
        return parse_freeze_at(self.at)

    def make_rule(self) -> FreezeRule:
        """Return the rule that decides the step of the freeze; SettingError where one's own can't be made."""
        choice = self.choice
        encoder = self.agent_from or self.encoder_from or self.encoder_factory
        return choice.make(
            reason=f"encoder of {encoder}" if choice.step == 0 else "given step",
            threshold=self.similarity,
            patience=self.patience,
            earliest=self.earliest,
            latest=self.latest,
        )


@dataclass(frozen=True)
class Config:
    """One training run."""

    env: str
    """Environment: ALE/Alien-v5, dm_control/walker-walk-v0, or any id of Gymnasium, such as CarRacing-v3. As in
    minigrid:MiniGrid-Empty-5x5-v0, a module before a colon is imported first."""

    env_kwargs: Annotated[tuple[str, ...], Flag(value="KEY=VALUE")] = ()
    """Keyword arguments of a Gymnasium environment, as for gymnasium.make: continuous=false map_name=8x8; values are
    JSON or texts. Or all in one JSON object."""

    sticky_actions: Fraction = 0.0
    """Atari: probability with which each of the game's frames repeats the action of the frame before (Machado et al.
    2018: 0.25). SEER, as DQN and DER: 0."""

    full_action_space: bool = False
    """Atari: all 18 actions of the console (Machado et al. 2018), not only those that a game knows (SEER)."""

    agent: Annotated[str, Flag(value=f"{{{','.join(AGENTS.names())}}}|MODULE:NAME")] = "rainbow"
    """Learning algorithm; MODULE:NAME is an AgentSpec of your own."""

    seed: Annotated[int, Bounds(at_least=0, at_most=2**63 - 1)] = 0
    """Seed of every random generator: weights, replay, exploration, environments; of `random` and `numpy.random` too,
    which some environments of Gymnasium draw from."""

    steps: Count = 500_000
    """Training steps (agent decisions; 4 frames each on Atari)."""

    planned_steps: OptionalCount = None
    """Steps that a run is planned for: by then the exponent of the importance weights and the learning rate have their
    last values, and a replay without a setting has room for as many. Default: --steps. seer resume --steps keeps it."""

    num_envs: Annotated[int, Bounds(above=0, at_most=256)] = 1
    """Environments that act together, every so many steps; all but one in processes of their own. Each of their steps
    counts as a step, with its updates."""

    eval_every: Count = 10_000
    """Steps between evaluations."""

    eval_episodes: Annotated[int, Bounds(above=0, at_most=100_000)] = 10
    """Whole games per evaluation."""

    checkpoint_every: Count = 10_000
    """Steps between checkpoints. Each writes only those pieces of the replay that changed; two are kept, which together
    take up to twice the replay's memory on disk, more while another is written."""

    keep_replay: bool = False
    """Keep the replay of the finished run too, so that seer resume --steps goes on exactly; on disk it takes as much as
    in memory."""

    snapshot_every: OptionalCount = None
    """Steps between snapshots of the weights for seer analyze: 3 MB each with Rainbow, 30 MB with CURL."""

    log_every: Count = 1000
    """Steps between training records."""

    log: Annotated[tuple[str, ...], Flag(value="|".join((*OUTPUTS, "MODULE:CLASS")))] = ()
    """Where records go beside metrics.jsonl, TensorBoard and the terminal: wandb, trackio (each with its extra), or a
    subclass of seer.runs.outputs.Output of your own."""

    device: str = "auto"
    """Where networks and replay live: cpu, cuda, cuda:1; auto takes a GPU if there is one."""

    threads: Annotated[int | None, Bounds(above=0, at_most=1024)] = None
    """CPU threads. Default: 1 with Rainbow and DQN, else one per core. With more than free cores a run crawls."""

    compile: bool = False
    """Rainbow, DQN: compile the loss, which takes up to a minute at the first update and at the freeze, and makes
    updates a tenth faster before the freeze and a fifth after it. Needs a C++ compiler."""

    replay_on: Annotated[str | None, Flag(value="DIR")] = None
    """Folder on a disk for a replay that is larger than memory: it lies there in an unnamed file, gone when the run
    ends or stops. Checkpoints, in --out, copy it as they copy memory. Default: in memory, on --device."""

    env_timeout: Annotated[float, Flag(value="SECONDS"), Bounds(above=0, at_most=10**6)] = 300.0
    """Seconds that a reset or a step of the environment may take before the run is stopped."""

    max_episode_steps: OptionalCount = None
    """Decisions after which an episode is cut off as by a time limit, in training and in evaluation. Default: when the
    environment ends it (Atari after 27,000 decisions, DeepMind Control after 1,000 steps of its own, as published)."""

    out: Annotated[str | None, Flag(value="DIR")] = None
    """Run folder; must not exist. Default: runs/<env>-<agent>-<seed>-<time>."""

    image: ImageConfig = field(default_factory=ImageConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    freeze: FreezeConfig = field(default_factory=FreezeConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    sac: SacConfig = field(default_factory=SacConfig)
    own: OwnSettings = field(default_factory=OwnSettings)

    @property
    def view_size(self) -> int:
        """Side in pixels of what the encoder sees."""
        return self.image.size if self.image.crop_size is None else self.image.crop_size

    @property
    def least_capacity(self) -> int:
        """Frames, of each environment, that a replay needs for learning: a batch and an n-step window."""
        return self.learning.batch_size + self.replay.n_step

    @property
    def first_update(self) -> int:
        """Training step of the first update: an n-step window of every environment has to be whole."""
        every, window = self.learning.update_every, (self.replay.n_step + 1) * self.num_envs
        return -(-max(self.learning.first_update, window) // every) * every

    @property
    def mean_updates(self) -> float:
        """Updates per step, in the mean, from the first update on."""
        return self.learning.updates_per_step / self.learning.update_every

    @property
    def freeze_step(self) -> int | None:
        """T_f in training steps; None for never, and for a rule that finds it on the way."""
        return self.freeze.choice.step


SENSORS = ("cameras", "vectors")
"""Settings of `ImageConfig` that `config.json` has where they are given, as lists."""

FIELDS = tuple(fields_of(Config))
"""Every setting of a run, but those that one agent alone has."""


def fields_with(own: OwnSettings) -> tuple[Field, ...]:
    """Return `FIELDS`, and those of an agent's own settings."""
    return (*FIELDS, *fields_of(type(own), "own."))


def config_to_json(config: Config) -> dict[str, Any]:
    """The config as nested JSON objects, for `config.json`; without `own` where the agent has none of its own."""
    record = dataclasses.asdict(config)
    record["env_kwargs"] = list(config.env_kwargs)
    seen = {name: list(value) for name in SENSORS if (value := record["image"].pop(name))}
    record["image"] |= seen
    if not record["own"]:
        del record["own"]
    record["log"] = list(record["log"])
    for name in ("log", "replay_on", "compile"):  # seers of before, which know no such settings, read most runs
        if not record[name]:
            del record[name]
    return record


def _image_from_json(record: dict[str, Any], env: str) -> ImageConfig:
    """Return what `config_to_json` wrote of pictures and vectors.

    Runs from before vectors were seen have a `key`, of their one picture. They mean what they meant: no vectors.
    """
    image = {**record}
    if "key" in image:
        key = image.pop("key")
        image["cameras"] = [] if key is None else [key]
        image["vectors"] = [] if suite_of(env).own_protocol else ["none"]
    return ImageConfig(**image | {name: tuple(image.get(name, ())) for name in SENSORS})


def config_from_json(record: dict[str, Any]) -> Config:
    """The config that `config_to_json` wrote; settings that an older seer didn't know have their defaults.

    Raises:
        SettingError: a setting is unknown, of the wrong type, a whole group of them is missing, or the agent isn't
            installed here.
    """
    agent = record.get("agent", Config.agent)
    if not isinstance(agent, str):
        raise SettingError(f"config.json has agent {agent!r:.40}, which is of the wrong type: restore it")
    try:
        record = record | {"learning": known_learning(record["learning"])}
        groups = {f.name: f.default_factory for f in dataclasses.fields(Config) if callable(f.default_factory)}
        built = {name: group(**record[name]) for name, group in groups.items() if name not in ("own", "image")}
        built["image"] = _image_from_json(record["image"], str(record.get("env", "")))
        built["own"] = AGENTS[agent].own_settings(record.get("own"))
        lists = {name: tuple(record.get(name, ())) for name in ("env_kwargs", "log")}
        config = Config(**(record | built | lists))
    except (TypeError, KeyError) as error:
        raise SettingError(f"config.json doesn't fit this version of seer: {error}; start a new run") from None
    for each in fields_with(config.own):
        if not each.takes(value := value_of(config, each.name)):
            told = f"config.json has {each.name} {value!r:.40}, which is of the wrong type"
            raise SettingError(f"{told}: restore it, or start a new run")
    return config
