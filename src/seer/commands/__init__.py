"""What each command does; `cli.py` calls it."""
