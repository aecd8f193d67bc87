"""Draw MuJoCo simulations without a screen: choose the OpenGL backend, and draw in the thread that owns it.

dm_control and MuJoCo read their backend from the variable MUJOCO_GL when they are imported, and one that doesn't work
can take the process down. So `choose_backend` tries each in a process of its own, before either is imported here.
"""

import atexit
import functools
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from seer.envs.backends import Backend, answer_of, find_backend
from seer.errors import SettingError

CAMERA = 0
MAX_GEOMS = 1000
"""Most shapes in one picture; DM Control's fullest has 50."""

_CARTPOLE = "from dm_control.suite import cartpole; model = cartpole.swingup().physics.model.ptr"

_SIMULATION = """
from dm_control.suite import cartpole
cartpole.swingup().physics.step()
print("{}", flush=True)
"""
"""A program that simulates without a picture: where it fails, OpenGL isn't the cause."""


@functools.cache
def choose_backend() -> Backend:
    """Find the backend that works, EGL before OSMesa, and set MUJOCO_GL to it; a MUJOCO_GL set before is kept.

    Takes about two seconds, once in a process. Call it before dm_control or mujoco is imported.

    Raises:
        SettingError: dm_control isn't installed, doesn't work with the installed mujoco, or nothing renders; one line
            with the reason and what to install.
    """
    if find_spec("dm_control") is None:
        remedy = "pip install 'seer-rl[dm-control]'"
        if sys.version_info >= (3, 13):
            remedy = f"use Python 3.12 or 3.11, as its labmaze has no wheel for later ones, and {remedy}"
        raise SettingError(f"DeepMind Control (env 'dm_control/...') needs dm_control: {remedy}")
    try:
        return find_backend("DeepMind Control", _CARTPOLE)
    except SettingError:
        fault = answer_of(_SIMULATION, gl="disabled")
        if not isinstance(fault, str):
            raise
    raise SettingError(
        f"DeepMind Control doesn't run here, drawn or not: {_installed('dm_control')} with {_installed('mujoco')}: "
        f"{fault}; pip install 'seer-rl[dm-control]' brings versions that work together"
    )


def _installed(package: str) -> str:
    """Return the package and its version, as a user would write it."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"no {package}"


class _DrawingThread(threading.Thread):
    """Draw for all threads: an OpenGL context belongs to one thread, and a process needs no second."""

    def __init__(self) -> None:
        super().__init__(name="seer-drawing", daemon=True)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Queue a job; never blocks, so that finalizers may call it."""
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
    """Return the process's thread with the OpenGL context, started when it is first needed."""
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
    """Draw simulations of one task, seen by their first camera, for any thread.

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
        """Draw a simulation (mujoco.MjModel and MjData) as RGB uint8 [3, size, size].

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
        """Renew OpenGL's copy of height fields, from which it draws: quadruped-escape changes them in each episode."""
        import mujoco

        if not np.array_equal(self._terrain, model.hfield_data):
            self._terrain = model.hfield_data.copy()
            for index in range(model.nhfield):
                mujoco.mjr_uploadHField(model, self._context, index)


def _drawing_context(model: Any) -> Any:
    """Return OpenGL's part of a model (mujoco.MjrContext), drawing into memory."""
    import mujoco

    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    return context


_renderers: weakref.WeakValueDictionary[tuple[str, int], Renderer] = weakref.WeakValueDictionary()


def shared_renderer(task: str, model: Any, *, max_size: int) -> Renderer:
    """Return the renderer of a task and size, made if there is none; it lives as long as someone holds it."""
    renderer = _renderers.get((task, max_size))
    if renderer is None:
        renderer = _renderers[task, max_size] = Renderer(model, max_size=max_size)
    return renderer
