"""The paper's settings per environment (SEER, appendix), as changes to the defaults in `config.py`."""

import dataclasses

from seer.config import AgentName, Config, FreezeConfig, ReplayConfig, ValueConfig

COMMON_ATARI_FREEZE = 50_000
"""T_f of most of the paper's games; used for games outside its table."""

ATARI_FREEZE = {
    "Alien": 50_000,
    "Amidar": 50_000,
    "BankHeist": 50_000,
    "CrazyClimber": 100_000,
    "Krull": 50_000,
    "Qbert": 100_000,
    "RoadRunner": 50_000,
    "Seaquest": 50_000,
}
"""T_f in training steps, replay as large as the run (SEER, appendix, Atari settings)."""

DQN_PARTS = ValueConfig(double=False, dueling=False, noisy=False, distributional=False)


def preset(env: str, agent: AgentName = "rainbow") -> Config:
    """The paper's settings for an environment id such as ALE/Alien-v5; DQN is Rainbow with its parts off."""
    game = env.removeprefix("ALE/").split("-")[0]
    config = Config(env=env, agent=agent, freeze=FreezeConfig(at=str(ATARI_FREEZE.get(game, COMMON_ATARI_FREEZE))))
    if agent == "dqn":
        return dataclasses.replace(config, value=DQN_PARTS, replay=ReplayConfig(prioritized=False, n_step=1))
    return config
