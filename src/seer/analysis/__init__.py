"""Looking back at a run: where its layers looked, and when they settled."""
