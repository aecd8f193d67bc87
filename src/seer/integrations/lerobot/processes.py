"""LeRobot's processes of its own (`policy.concurrency`), which end with the one that started them.

Left to themselves they outlive a learner or an actor that is killed, and hold its port and its streams: the other side
goes on talking to them, and a new learner isn't heard.
"""

import multiprocessing
import os
import threading
from typing import Any

from lerobot.rl import learner

SERVE = learner.start_learner  # before `install`


def serve(*arguments: Any) -> None:
    """Run the learner's gRPC server, as a thread or a process, until the learner ends."""
    end_with_parent()
    SERVE(*arguments)


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended; do nothing in a process that nobody started so."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
