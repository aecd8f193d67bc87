"""The files of a run: its folder, records, checkpoints and snapshots."""
