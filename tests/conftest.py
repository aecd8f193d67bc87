"""Settings for every test."""

import os

import torch
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"  # figures are written to files; no test needs a screen
torch.set_num_threads(1)  # small tensors: threads cost more than they give, and sums stay repeatable

# Time limits on single examples fail on a busy machine. In CI every run draws the same examples.
settings.register_profile("seer", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("seer")
