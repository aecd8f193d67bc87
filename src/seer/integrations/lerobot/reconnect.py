"""Streams from the actor that outlive a learner: LeRobot's own end with it, and its actor goes on unheard."""

import logging
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import Any

import grpc
from lerobot.rl import actor
from lerobot.transport import services_pb2

from seer.integrations.lerobot.processes import end_with_parent

RETRY_SECONDS = 2.0

RECEIVE, SEND, REPORT = actor.receive_policy, actor.send_transitions, actor.send_interactions  # before `install`
CHANNEL_OPTIONS = actor.grpc_channel_options


class Attempt:
    """A queue and a stop signal for one stream, both of which end with it.

    LeRobot's stream goes on waiting at the queue after its connection is gone, and would take the next message with it.
    """

    def __init__(self, queue: Any, shutdown: Any) -> None:
        self.over, self._queue, self._shutdown = False, queue, shutdown

    def is_set(self) -> bool:
        """Return whether the stream should end."""
        return self.over or bool(self._shutdown.is_set())

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next message; a stream that is over leaves it to the one after."""
        message = self._queue.get(block=block, timeout=timeout)
        if self.over:
            self._queue.put(message)
            raise Empty
        return message

    def put(self, message: Any) -> None:
        """Hand on a message that was received."""
        self._queue.put(message)


def receive_policy(cfg: Any, queue: Any, shutdown: Any, *rest: Any) -> None:
    """Receive weights, from one learner after another."""
    _keep_up(RECEIVE, cfg, queue, shutdown, *rest)
    with suppress(Empty):  # weights that nobody reads would keep this process, and LeRobot's actor counts them for ever
        while True:
            queue.get(timeout=1.0)


def send_transitions(cfg: Any, queue: Any, shutdown: Any, *rest: Any) -> None:
    """Send steps, to one learner after another."""
    _keep_up(SEND, cfg, queue, shutdown, *rest)


def send_interactions(cfg: Any, queue: Any, shutdown: Any, *rest: Any) -> None:
    """Send scores and rates, to one learner after another."""
    _keep_up(REPORT, cfg, queue, shutdown, *rest)


def channel_options() -> list[tuple[str, Any]]:
    """Return LeRobot's settings of a connection, with tries that don't become rarer, up to two minutes apart."""
    return [*CHANNEL_OPTIONS(), ("grpc.max_reconnect_backoff_ms", int(1000 * RETRY_SECONDS))]


def install() -> None:
    """Put these functions where LeRobot's actor looks for its own."""
    actor.grpc_channel_options = channel_options
    actor.receive_policy, actor.send_transitions = receive_policy, send_transitions
    actor.send_interactions = send_interactions


def _keep_up(stream: Callable[..., None], cfg: Any, queue: Any, shutdown: Any, *rest: Any) -> None:
    end_with_parent()
    while not shutdown.is_set():
        attempt = Attempt(queue, shutdown)
        stream(cfg, attempt, attempt, *rest)
        attempt.over = True
        if shutdown.is_set():
            return
        logging.warning("[ACTOR] The learner is gone (%s): waiting for the next one", stream.__name__)
        _wait_for_learner(cfg, shutdown)


def _wait_for_learner(cfg: Any, shutdown: Any) -> None:
    actor.learner_service_client.cache_clear()  # LeRobot may have closed the connection that it remembers
    settings = cfg.policy.actor_learner_config
    client, _ = actor.learner_service_client(host=settings.learner_host, port=settings.learner_port)
    while not shutdown.is_set():
        try:
            client.Ready(services_pb2.Empty())
        except grpc.RpcError:
            shutdown.wait(RETRY_SECONDS)
        else:
            logging.info("[ACTOR] A learner is there again")
            return
