"""Plan a grid of runs and train it."""
