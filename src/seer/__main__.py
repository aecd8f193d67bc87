"""The `seer` command, also as `python -m seer`: its start, while nothing is loaded yet."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C in the seconds that it takes to load ends it without a traceback."""
    try:
        from seer.cli import main as run
    except KeyboardInterrupt:
        print("seer: stopped", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
