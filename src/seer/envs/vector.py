"""Environments in processes of their own, which play while this process acts and plays another one."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from seer.envs.base import Info, PixelEnvironment, Pixels, State
from seer.envs.randomness import seed_shared
from seer.errors import RunError, SettingError
from seer.signals import held_back, let_in

START_SECONDS = 120.0
"""Time until a process must answer for the first time: it imports the simulator."""


@dataclass(frozen=True)
class Outcome:
    """Hold the result of a step. `final` is the observation after a truncated step, None otherwise.

    Where the episode is over, the next one has begun.
    """

    reward: float
    terminated: bool
    truncated: bool
    final: Pixels | None
    info: Info


def play(environment: PixelEnvironment, action: Any) -> Outcome:
    """Play one step, and start the next episode where one is over."""
    reward, terminated, truncated, info = environment.advance(action)
    cut = truncated and not terminated
    final = environment.observe() if cut else None
    if terminated or truncated:
        info = environment.restart() | info  # a life's first step can end the game
    return Outcome(reward, terminated, cut, final, info)


class EnvironmentProcess:
    """Play an environment that `make` makes in another process.

    Raises:
        SettingError: it can't be made.
        RunError: in any call: the environment failed, or its process is gone or doesn't answer.
    """

    def __init__(self, make: Callable[[], PixelEnvironment], *, time_limit: float, seed: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy this process's threads' locks
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, time_limit), daemon=True)
        with held_back():  # while it imports, a signal would end it with a traceback
            self._process.start()
        theirs.close()
        atexit.register(self.close)  # before multiprocessing waits for it
        self._timeout = 3 * time_limit + START_SECONDS  # a step is watched there: advancing, drawing, a new episode
        self.is_lost = False
        self._send("restart", seed)

    def wait(self) -> None:
        """Wait until the environment is there; several are started side by side first, and then waited for."""
        try:
            self._observation: Pixels = self._receive()
        except SettingError:
            self.close()
            raise

    def observe(self) -> Pixels:
        """Return the observation, uint8 [S, C, H, W]."""
        return self._observation

    def send(self, action: Any) -> None:
        """Begin a step, whose result `receive` returns."""
        self._send("play", action)

    def receive(self) -> Outcome:
        """Return the result of the step that `send` began."""
        outcome: Outcome
        outcome, self._observation = self._receive()
        return outcome

    def restart(self) -> None:
        """Start an episode."""
        self._observation = self._ask("restart", None)
        self.is_lost = False

    def state_dict(self) -> State:
        """Return the state of the environment in the process."""
        state: State = self._ask("state_dict", None)
        return state

    def load_state_dict(self, state: State) -> None:
        """Let the environment in the process continue from a state."""
        self.is_lost, self._observation = self._ask("load_state_dict", state)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(5)
        self._process.kill()
        atexit.unregister(self.close)

    def _ask(self, request: str, argument: Any) -> Any:
        self._send(request, argument)
        return self._receive()

    def _send(self, request: str, argument: Any) -> None:
        with suppress(OSError):  # gone: `_receive` says so
            self._connection.send((request, argument))

    def _receive(self) -> Any:
        try:
            if not self._connection.poll(self._timeout):
                raise RunError(f"an environment's process hasn't answered for {self._timeout:g} seconds")
            error, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1)
            raise RunError(f"an environment's process ended (exit code {self._process.exitcode})") from None
        if error is not None:
            raise error(answer)
        return answer


def _serve(connection: Connection, make: Callable[[], PixelEnvironment], time_limit: float) -> None:
    """Answer requests until the other side is gone."""
    let_in(signal.SIG_IGN)  # they are meant for the run, which saves itself first
    environment: PixelEnvironment | None = None
    with suppress(EOFError, OSError):
        while True:
            request, argument = connection.recv()
            answer: tuple[type[Exception] | None, Any]
            try:
                if environment is None:
                    if request == "restart":  # always the first; what is drawn while it is made is seeded too
                        seed_shared(argument)
                    environment = make()
                    environment.time_limit = time_limit
                answer = None, _answer(environment, request, argument)
            except SettingError as error:
                answer = type(error), str(error)
            except Exception as error:  # noqa: BLE001  (raised again on the other side)
                answer = ValueError, f"{type(error).__name__}: {error}"
            connection.send(answer)


def _answer(environment: PixelEnvironment, request: str, argument: Any) -> Any:
    if request == "play":
        return play(environment, argument), environment.observe()
    if request == "restart":
        environment.restart(seed=argument)
        return environment.observe()
    if request == "load_state_dict":
        environment.load_state_dict(argument)
        return environment.is_lost, environment.observe()
    return environment.state_dict()
