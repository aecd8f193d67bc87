"""Agents: what learns from the replay, before and after the freeze."""
