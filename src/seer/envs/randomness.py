"""The random generators that a process shares, Python's `random` and `numpy.random`, kept apart by environment."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.random.mtrand import get_bit_generator, set_bit_generator


def seed_shared(seed: int) -> None:
    """Seed Python's and NumPy's shared generators; `seed` is less than 2^32."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (for environments that draw from it)


class SharedRandomness:
    """Let an environment draw from the shared generators as if it were alone in its process.

    Its draws then depend on its own seeds, not on what evaluations or other environments draw between two steps.
    """

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy = np.random.MT19937(0)  # what numpy.random itself is made of

    @contextmanager
    def used(self, seed: int | None = None) -> Iterator[None]:
        """Let the shared generators begin with `seed` or, without one, go on where this environment left them."""
        python, numpy = random.getstate(), get_bit_generator()
        random.setstate(self._python)
        set_bit_generator(self._numpy)
        try:
            if seed is not None:
                seed_shared(seed)
            yield
        finally:
            self._python = random.getstate()
            random.setstate(python)
            set_bit_generator(numpy)
