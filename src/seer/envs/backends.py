"""OpenGL backends that draw MuJoCo without a screen, tried in processes of their own.

MuJoCo reads its backend from the variable MUJOCO_GL when it is imported, or first draws, and one that doesn't work can
take the process down.
"""

import functools
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

from seer.errors import SettingError

BACKENDS = ("egl", "osmesa")
"""Backends in order of preference. EGL itself takes a GPU if there is one; Mesa lists its software device last."""

_COMPLAIN_IN_ONE_LINE = """
import sys
sys.excepthook = lambda kind, error, _: print(f"{kind.__name__}:", *str(error).split(), file=sys.stderr)
"""

_PROBE = """
import json, time, mujoco
from OpenGL import GL
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

_BALL = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='.1'/></worldbody></mujoco>")
"""


@dataclass(frozen=True)
class Backend:
    """Describe the backend that draws, and its speed.

    Attributes:
        name: the value of MUJOCO_GL, such as "egl".
        device: OpenGL's name of the device that draws, such as "llvmpipe (LLVM 15.0.6, 256 bits)".
        images_per_second: pictures of 100x100 pixels, measured when the backend was chosen.
    """

    name: str
    device: str
    images_per_second: float

    @property
    def software(self) -> bool:
        """Tell whether the CPU draws."""
        return self.device.lower().startswith(("llvmpipe", "softpipe", "swrast", "software"))

    def __str__(self) -> str:
        where = "the CPU" if self.software else "the GPU"
        return f"Rendering with {self.name.upper()} on {where} ({self.device}): {self.images_per_second:.0f} images/s"


@functools.cache
def choose_mujoco_backend() -> Backend:
    """Find the backend that works, EGL before OSMesa, and set MUJOCO_GL to it; a MUJOCO_GL set before is kept.

    Gymnasium's environments read MUJOCO_GL when they draw for the first time.

    Raises:
        SettingError: nothing renders; names the Debian packages to install.
    """
    return find_backend("MuJoCo", _BALL)


def find_backend(what: str, make_model: str) -> Backend:
    """Find the backend that draws a model, and set MUJOCO_GL to it; a MUJOCO_GL set before is kept.

    Args:
        what: the simulator's name, for the error.
        make_model: Python; sets `model`, a mujoco.MjModel.

    Raises:
        SettingError: none works; names those that were tried, the Debian packages to install, and the reasons.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in BACKENDS:
        raise SettingError(f"MUJOCO_GL={wanted} can't draw without a screen: set it to egl or osmesa, or unset it")
    reasons = {}
    for name in (wanted,) if wanted else BACKENDS:
        answer = answer_of(make_model + _PROBE, gl=name)
        if not isinstance(answer, str):
            os.environ["MUJOCO_GL"] = name
            return Backend(name, **answer)
        reasons[name] = answer
    raise SettingError(
        f"{what} can't be drawn here: MUJOCO_GL={' or '.join(reasons)} doesn't work; "
        f"{'unset it, or ' if wanted else ''}apt-get install libegl1 libgl1 (for egl) or libosmesa6 (for osmesa). "
        f"Reason: {', '.join(f'{name}: {reason}' for name, reason in reasons.items())}"
    )


def answer_of(program: str, *, gl: str) -> dict[str, Any] | str:
    """Run a program with a MUJOCO_GL in another process, whose crash or hanging does no harm.

    Returns:
        The JSON object in the last line that it printed; if there is none, the reason in one line.
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
