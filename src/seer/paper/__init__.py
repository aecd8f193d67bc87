"""Reproduce the paper: its exhibits, and a look into the layers of a run."""
