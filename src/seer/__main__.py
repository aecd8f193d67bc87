"""`python -m seer`: the same as `seer`."""

from seer.cli import main

if __name__ == "__main__":
    main()
