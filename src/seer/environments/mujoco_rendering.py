"""Pictures of Gymnasium's MuJoCo environments without a screen: which OpenGL backend draws; no need of dm_control."""

import functools
import json
import os
import subprocess
import sys

from seer.environments.rendering import BACKENDS, Backend
from seer.errors import SettingError

_PROBE = """
import json, time, mujoco
from OpenGL import GL
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='.1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 100, 100)
start, count = time.perf_counter(), 0
while count < 5 or time.perf_counter() - start < 0.2:
    renderer.update_scene(data)
    renderer.render()
    count += 1
rate = count / (time.perf_counter() - start)
device = GL.glGetString(GL.GL_RENDERER).decode()
print(json.dumps({"device": device, "images_per_second": rate}), flush=True)
"""
"""Draws one ball."""


@functools.cache
def choose_mujoco_backend() -> Backend:
    """Find the backend that works, EGL before OSMesa, and set MUJOCO_GL to it; a MUJOCO_GL set before is kept.

    Gymnasium's environments read MUJOCO_GL when they draw for the first time.

    Raises:
        SettingError: nothing renders; names the Debian packages to install.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in BACKENDS:
        raise SettingError(f"MUJOCO_GL={wanted} can't draw without a screen: set it to egl or osmesa, or unset it")
    for name in (wanted,) if wanted else BACKENDS:
        if backend := _try(name):
            os.environ["MUJOCO_GL"] = name
            return backend
    raise SettingError(
        f"MuJoCo can't be drawn here: MUJOCO_GL={wanted or ' or '.join(BACKENDS)} doesn't work; "
        f"{'unset it, or ' if wanted else ''}apt-get install libegl1 libgl1 (for egl) or libosmesa6 (for osmesa)"
    )


def _try(name: str) -> Backend | None:
    """Draw with a backend in another process, whose crash or hanging does no harm."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=os.environ | {"MUJOCO_GL": name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,  # seconds; a minute is possible on a machine that is busy
            check=False,
        )
        return Backend(name, **json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, json.JSONDecodeError):
        return None
