"""LeRobot's actor, which finds the learner again after its restart: `python -m seer.integrations.lerobot.actor`.

It sends pictures, as LeRobot's does: the learner encodes them.
"""

from lerobot.rl import actor

from seer.errors import SettingError
from seer.integrations.lerobot import reconnect
from seer.integrations.lerobot.versions import check_version


def main() -> None:
    """Run the actor; end with one line where LeRobot's version doesn't fit."""
    try:
        check_version()
    except SettingError as error:
        raise SystemExit(f"error: {error}") from None
    reconnect.install()
    actor.actor_cli()


if __name__ == "__main__":
    main()
