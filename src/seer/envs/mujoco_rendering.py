"""Pictures of Gymnasium's MuJoCo environments without a screen: which OpenGL backend draws; no need of dm_control."""

import functools

from seer.envs.backends import Backend, find_backend, undrawable

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
    found = find_backend(_PROBE)
    if isinstance(found, Backend):
        return found
    raise undrawable("MuJoCo", found)
