"""Reinforcement learning from pixels that stores embeddings instead of images.

The method is SEER: Chen, Lee, Srinivas, Abbeel, "Improving Computational Efficiency in Visual Reinforcement
Learning via Stored Embeddings", NeurIPS 2021 (arXiv 2103.02886). Early in training the lower layers of the
encoder are frozen; from then on the replay holds their outputs, which are cheaper to train on and smaller.

Importing this package loads nothing else: import the part you need, such as ``seer.replay``.
"""

__version__ = "0.1.0"
