r"""A device encodes what it sees and sends latents; a server decides. One game, over a socket.

    seer export runs/... --onnx
    python examples/split_encoder.py runs/.../onnx --latents int8              # both sides here, in two processes
    python examples/split_encoder.py runs/.../onnx --serve 0.0.0.0:7000        # the server's side
    python examples/split_encoder.py runs/.../onnx --connect server:7000       # the device's side

Neither side needs torch: the device has NumPy, ONNX Runtime and its camera, for which a game stands here; the server
hasn't even the game. A frozen encoder stays on its device for good, while the server's policy may go on learning.
Nothing is encrypted and nobody is asked for a password: for a network of one's own.
"""

import argparse
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnxruntime

DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.uint8}


class Wire:
    """Packs latents [1, N, L] float32 as bytes, and back; int8 as each dimension's range in 255 steps."""

    def __init__(self, folder: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = np.dtype(DTYPES[dtype]), shape
        self.num_bytes = int(np.prod(shape)) * self.dtype.itemsize
        ranges = json.loads((folder / "int8.json").read_text())
        self.low, self.step = (np.array(ranges[name], np.float32) for name in ("low", "step"))

    def pack(self, latents: np.ndarray) -> bytes:
        """Return latents as they are sent."""
        if self.dtype == np.uint8:
            latents = np.clip(np.rint((latents - self.low) / self.step), 0, 255)
        elif self.dtype == np.float16:
            latents = np.clip(latents, -65504, 65504)
        return latents.astype(self.dtype).tobytes()

    def unpack(self, message: bytes) -> np.ndarray:
        """Return latents as the policy reads them."""
        numbers = np.frombuffer(message, self.dtype).reshape(self.shape).astype(np.float32)
        return self.low + numbers * self.step if self.dtype == np.uint8 else numbers


def device(folder: Path, address: tuple[str, int], dtype: str, seed: int) -> None:
    """Play one game; everything but the encoder is elsewhere."""
    about, encoder = json.loads((folder / "export.json").read_text()), load(folder / "encoder.onnx")
    environment = make_environment(about)
    reply = about["files"]["policy.onnx"]["outputs"]["action"]
    kind, shape = np.dtype(reply["dtype"]), reply["shape"][1:]  # of one action
    wire = Wire(folder, dtype, tuple(encoder.get_outputs()[0].shape[1:]))
    with socket.create_connection(address) as connection, connection.makefile("rwb") as stream:
        send(connection, stream, bytes([list(DTYPES).index(dtype)]))  # so that the server reads what is sent
        observation, _ = environment.reset(seed=seed)
        sent, decisions, score, over = 0, 0, 0.0, False
        while not over:
            (latents,) = encoder.run(["latents"], {"frames": observation[None]})
            message = wire.pack(latents)
            send(connection, stream, message)
            action = np.frombuffer(receive(stream, kind.itemsize * int(np.prod(shape))), kind).reshape(shape)
            observation, reward, terminated, truncated, _ = environment.step(action if shape else int(action))
            sent, decisions, score = sent + len(message), decisions + 1, score + float(reward)
            over = terminated or truncated
    newest, stack = about["frame_bytes"].values()
    print(f"one game of {about['env']}: {decisions:,} decisions, score {score:,.1f}")
    print(f"sent as {dtype} latents: {sent / decisions:,.0f} bytes a decision, {sent:,} in all")
    print(f"as frames: {newest:,} bytes a decision if the server stacks them, {stack:,} if not")


def server(folder: Path, address: tuple[str, int]) -> None:
    """Decide for one device, until it hangs up."""
    policy = load(folder / "policy.onnx")
    with socket.create_server(address) as listening:
        print(f"listening on {listening.getsockname()[1]}", flush=True)
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as stream:
            dtype = list(DTYPES)[receive(stream, 1)[0]]
            wire = Wire(folder, dtype, (1, *policy.get_inputs()[0].shape[1:]))
            while message := stream.read(wire.num_bytes):
                (action,) = policy.run(["action"], {"latents": wire.unpack(message)})
                send(connection, stream, action.tobytes())


def send(connection: socket.socket, stream: BinaryIO, message: bytes) -> None:
    """Send at once, however short it is."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.write(message)
    stream.flush()


def receive(stream: BinaryIO, num_bytes: int) -> bytes:
    """Return so many bytes; ConnectionError if the other side is gone."""
    message = stream.read(num_bytes)
    if len(message) < num_bytes:
        raise ConnectionError("the other side hung up")
    return message


def load(file: Path) -> onnxruntime.InferenceSession:
    """Load one of the files; one thread, as both sides may share a machine."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def make_environment(about: dict[str, Any]) -> Any:
    """Make what stands in for the device's camera: the run's environment, whole games and raw rewards."""
    from seer.envs.registry import EnvOptions, suite_of
    from seer.registry import resolve

    grey = about["files"]["encoder.onnx"]["inputs"]["frames"]["shape"][2] == 1
    image = {name: about["image"][name] for name in ("size", "stack", "action_repeat", "render_pixels")}
    seen = {name: tuple(about["image"][name]) for name in ("cameras", "vectors")}
    kwargs = about.get("env_kwargs", ())
    options = EnvOptions(**image, **seen, channels="grey" if grey else "as shown", kwargs=kwargs)
    return resolve(suite_of(about["env"]).make)(about["env"], options, training=False)


def main() -> None:
    """Be one side or start both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what seer export wrote")
    parser.add_argument("--latents", choices=list(DTYPES), default="float32", help="as what the device sends them")
    parser.add_argument("--seed", type=int, default=0, help="of the game")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--serve", metavar="HOST:PORT", type=parse_address, help="be the server alone")
    side.add_argument("--connect", metavar="HOST:PORT", type=parse_address, help="be the device alone")
    options = parser.parse_args()
    if not (options.folder / "export.json").is_file():
        parser.error(f"{options.folder} has no export.json: give a folder that `seer export RUN --onnx` wrote")
    if options.serve:
        server(options.folder, options.serve)
    elif options.connect:
        device(options.folder, options.connect, options.latents, options.seed)
    else:
        command = [sys.executable, __file__, str(options.folder), "--serve", "127.0.0.1:0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            try:
                port = int(other.stdout.readline().rpartition(" ")[2])
                device(options.folder, ("127.0.0.1", port), options.latents, options.seed)
            finally:
                other.terminate()


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT."""
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    main()
