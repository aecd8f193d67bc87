"""Folders of runs that finished, as an earlier version left them: Rainbow and CURL, never frozen and frozen."""

import atexit
import shutil
import tarfile
import tempfile
from pathlib import Path

_ROOT = Path(tempfile.mkdtemp(prefix="finished-runs-"))
atexit.register(shutil.rmtree, _ROOT, ignore_errors=True)
with tarfile.open(Path(__file__).with_suffix(".tar.gz")) as _archive:
    _archive.extractall(_ROOT, filter="data")

ATARI_100K = _ROOT / "atari-100k"
"""Alien-never-0, Alien-frozen-0 (at 50,000) and so on, also of BankHeist, seeds 0 and 1: 100,000 steps."""
CONTROL_30K = _ROOT / "control-30k"
"""cartpole-swingup and walker-walk, frozen at 10,000 for 30,000 steps and never for 15,000: seed 0."""
