"""Scores that make environments comparable: 0 is a random agent's, 1 a human's (Atari) or the highest (Control)."""

ATARI = {
    "Alien": (227.8, 7127.7),
    "Amidar": (5.8, 1719.5),
    "BankHeist": (14.2, 753.1),
    "CrazyClimber": (10780.5, 35829.4),
    "Krull": (1598.0, 2665.5),
    "Qbert": (163.9, 13455.0),
    "RoadRunner": (11.5, 7845.0),
    "Seaquest": (68.4, 42054.7),
}
"""Random and human score of the paper's games, as the field uses them (Wang et al. 2016, appendix, no-op starts)."""

CONTROL_MAXIMUM = 1000.0
"""An episode of DeepMind Control pays at most 1 in each of its 1000 simulator steps; 0 is the least."""


def normalized(env: str, score: float) -> float | None:
    """The score on a scale on which environments can be averaged; None where no reference is known."""
    if env.startswith("dm_control/"):
        return score / CONTROL_MAXIMUM
    reference = ATARI.get(env.removeprefix("ALE/").split("-")[0])
    if reference is None:
        return None
    random, human = reference
    return (score - random) / (human - random)
