"""Pictures of MuJoCo simulations without a screen: which OpenGL backend draws, and the thread that draws with it.

dm_control and MuJoCo read their backend from the variable MUJOCO_GL when they are imported, and one that doesn't work
can take the process down. So `choose_backend` tries each in a process of its own, before either is imported here.
"""

import atexit
import functools
import json
import os
import queue
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from seer.errors import SettingError

BACKENDS = ("egl", "osmesa")
"""In order of preference. EGL itself takes a GPU if there is one; Mesa lists its software device last."""

CAMERA = 0
MAX_GEOMS = 1000
"""Shapes in one picture; DM Control's fullest has 50."""

_COMPLAIN_IN_ONE_LINE = """
import sys
sys.excepthook = lambda kind, error, _: print(f"{kind.__name__}:", *str(error).split(), file=sys.stderr)
"""

_PROBE = """
import json, time
from dm_control.suite import cartpole
from OpenGL import GL
physics = cartpole.swingup().physics
physics.render(100, 100, camera_id=0)
with physics.contexts.gl.make_current() as context:
    device = context.call(GL.glGetString, GL.GL_RENDERER).decode()
start, count = time.perf_counter(), 0
while count < 5 or time.perf_counter() - start < 0.2:
    physics.render(100, 100, camera_id=0)
    count += 1
print(json.dumps({"device": device, "images_per_second": count / (time.perf_counter() - start)}), flush=True)
"""

_SIMULATION = """
from dm_control.suite import cartpole
cartpole.swingup().physics.step()
print("{}", flush=True)
"""
"""The same without a picture: where this fails, OpenGL isn't to blame."""


@dataclass(frozen=True)
class Backend:
    """What draws the pictures, and how fast it is.

    Attributes:
        name: the value of MUJOCO_GL, such as "egl".
        device: OpenGL's name for what draws, such as "llvmpipe (LLVM 15.0.6, 256 bits)".
        images_per_second: of cartpole-swingup at 100x100 pixels, measured when the backend was chosen.
    """

    name: str
    device: str
    images_per_second: float

    @property
    def software(self) -> bool:
        """Whether the CPU draws."""
        return self.device.lower().startswith(("llvmpipe", "softpipe", "swrast", "software"))

    def __str__(self) -> str:
        where = "the CPU" if self.software else "the GPU"
        return f"Rendering with {self.name.upper()} on {where} ({self.device}): {self.images_per_second:.0f} images/s"


@functools.cache
def choose_backend() -> Backend:
    """Find the backend that works, EGL before OSMesa, and set MUJOCO_GL to it; a MUJOCO_GL set before is kept.

    Takes about two seconds, once in a process. Call it before dm_control or mujoco is imported.

    Raises:
        SettingError: dm_control isn't installed, doesn't work with the installed mujoco, or nothing renders; one line
            with the reason and what to install.
    """
    if find_spec("dm_control") is None:
        raise SettingError(
            "DeepMind Control (env 'dm_control/...') needs dm_control: pip install 'seer-rl[dm-control]'"
        )
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in BACKENDS:
        raise SettingError(f"MUJOCO_GL={wanted} can't draw without a screen: set it to egl or osmesa, or unset it")
    reasons = {}
    for name in (wanted,) if wanted else BACKENDS:
        found = _try(name)
        if isinstance(found, Backend):
            os.environ["MUJOCO_GL"] = name
            return found
        reasons[name] = found
    fault = _answer(_SIMULATION, gl="disabled")
    if isinstance(fault, str):
        raise SettingError(
            f"DeepMind Control doesn't run here, drawn or not: {_installed('dm_control')} with {_installed('mujoco')}: "
            f"{fault}; pip install 'seer-rl[dm-control]' brings versions that work together"
        )
    raise SettingError(
        f"DeepMind Control can't be drawn here: MUJOCO_GL={wanted or ' or '.join(BACKENDS)} doesn't work; "
        f"{'unset it, or ' if wanted else ''}apt-get install libegl1 libgl1 (for egl) or libosmesa6 (for osmesa). "
        f"Reason: {', '.join(f'{name}: {reason}' for name, reason in reasons.items())}"
    )


def _try(name: str) -> Backend | str:
    """Draw with a backend; return it, or why it doesn't work."""
    answer = _answer(_PROBE, gl=name)
    return answer if isinstance(answer, str) else Backend(name, **answer)


def _answer(program: str, *, gl: str) -> dict[str, Any] | str:
    """Run a program with a MUJOCO_GL, in another process, whose crash or hanging does no harm.

    Returns:
        The JSON object in the last line that it printed; if there is none, why, in one line.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _COMPLAIN_IN_ONE_LINE + program],
            env=os.environ | {"MUJOCO_GL": gl},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,  # seconds; a minute is possible on a machine that is busy
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return f"no answer in {error.timeout:.0f} seconds"
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # an error at its exit doesn't matter
    except (IndexError, json.JSONDecodeError):
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        return textwrap.shorten(last, 300, placeholder=" ...")
    return answer


def _installed(package: str) -> str:
    """The package and its version, as a user would write it."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"no {package}"


class _DrawingThread(threading.Thread):
    """Works for any thread; an OpenGL context belongs to one, and a process needs no second."""

    def __init__(self) -> None:
        super().__init__(name="seer-drawing", daemon=True)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Do a job after those submitted before; never blocks, so that finalizers may call it."""
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return future

    def run(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 (it is raised where the result is asked for)
                future.set_exception(error)
            del job, future  # else they would keep a renderer until the next job


@functools.cache
def _drawing_thread() -> _DrawingThread:
    """The process's thread with the OpenGL context, started when it is first needed."""
    from mujoco.gl_context import GLContext

    thread = _DrawingThread()
    thread.start()
    context = thread.submit(lambda: GLContext(1, 1)).result()  # of no size: pictures go to MjrContext's buffers
    thread.submit(context.make_current).result()

    def close() -> None:
        for renderer in list(_renderers.values()):
            renderer.close()
        thread.submit(context.free).result()

    atexit.register(close)  # before EGL, whose exit hook is older, ends
    return thread


class Renderer:
    """Draws simulations of one task, seen by their first camera, for any thread.

    Textures, meshes and the shadow map take about 40 MB and are the same for all simulations of a task, which
    therefore share a renderer: `shared_renderer`.

    Args:
        model: mujoco.MjModel of any of the simulations.
        max_size: largest height and width of a picture, pixels.
    """

    def __init__(self, model: Any, *, max_size: int) -> None:
        import mujoco

        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._option = mujoco.MjvOption()
        self._option.flags[mujoco.mjtVisFlag.mjVIS_RANGEFINDER] = False  # nor does dm_control draw these rays
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = CAMERA
        self._terrain = model.hfield_data.copy()
        model.vis.global_.offwidth = model.vis.global_.offheight = max_size
        self._thread = _drawing_thread()
        self._context = self._thread.submit(lambda: _drawing_context(model)).result()
        # MuJoCo's own destructor would free OpenGL's objects in whatever thread lets go of the renderer.
        self.close = weakref.finalize(self, self._thread.submit, self._context.free)

    def draw(self, model: Any, data: Any, *, size: int, shadows: bool) -> Future[npt.NDArray[np.uint8]]:
        """The picture of a simulation (mujoco.MjModel and MjData), RGB uint8 [3, size, size].

        Neither may be written to until the picture is there.
        """
        return self._thread.submit(lambda: self._draw(model, data, size, shadows))

    def _draw(self, model: Any, data: Any, size: int, shadows: bool) -> npt.NDArray[np.uint8]:
        import mujoco

        self._upload_terrain(model)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._option, None, self._camera, everything, self._scene)
        rectangle = mujoco.MjrRect(0, 0, size, size)
        picture = np.empty((size, size, 3), np.uint8)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, rectangle, self._context)
        return picture[::-1].transpose(2, 0, 1)  # OpenGL begins at the bottom

    def _upload_terrain(self, model: Any) -> None:
        """Height fields are drawn from OpenGL's copy; quadruped-escape has another terrain in each episode."""
        import mujoco

        if not np.array_equal(self._terrain, model.hfield_data):
            self._terrain = model.hfield_data.copy()
            for index in range(model.nhfield):
                mujoco.mjr_uploadHField(model, self._context, index)


def _drawing_context(model: Any) -> Any:
    """What OpenGL holds of a model (mujoco.MjrContext), drawing into memory."""
    import mujoco

    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    return context


_renderers: weakref.WeakValueDictionary[tuple[str, int], Renderer] = weakref.WeakValueDictionary()


def shared_renderer(task: str, model: Any, *, max_size: int) -> Renderer:
    """The renderer of a task and size, made if there is none; it lives as long as someone holds it."""
    renderer = _renderers.get((task, max_size))
    if renderer is None:
        renderer = _renderers[task, max_size] = Renderer(model, max_size=max_size)
    return renderer
