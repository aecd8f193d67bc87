"""What a mistyped environment id was probably meant to be."""

import difflib
import re
from collections.abc import Iterable


def did_you_mean(env_id: str, known: Iterable[str], *, otherwise: str, cutoff: float = 0.6) -> str:
    """The end of the sentence that refuses `env_id`: the nearest of those known or, failing that, `otherwise`."""
    by_name = {bare_name(each): each for each in known}
    nearest = difflib.get_close_matches(bare_name(env_id), by_name, n=1, cutoff=cutoff)
    return f"; did you mean {by_name[nearest[0]]!r}?" if nearest else f"; {otherwise}"


def bare_name(env_id: str) -> str:
    """Return the name only: the same for "ALE/SpaceInvaders-v5", "space_invaders", "SpaceInvadersNoFrameskip-v4"."""
    name = re.sub(r"(noframeskip|deterministic)?(-v\d+)?$", "", re.split("[/:]", env_id.lower())[-1])
    return re.sub(r"[^a-z0-9]", "", name)
