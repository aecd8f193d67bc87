"""Trained agents in Python, and folders to share them (docs/trained_agents.md)."""
