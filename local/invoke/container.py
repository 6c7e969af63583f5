"""`sam local invoke`: the function in a container of Lambda's own image."""

import asyncio.subprocess
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from local.checkout import Checkout
from local.errors import StackError
from local.invoke.function import BuiltFunction
from local.invoke.response import FunctionResponse

_ARCHITECTURES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def machine_architecture() -> str:
    """Name this machine's processor as Lambda does: containers of the other kind would be emulated, slowly."""
    return _ARCHITECTURES.get(platform.machine(), "arm64")


async def engine_answers() -> bool:
    """Whether there is a container engine that `sam local` can use."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    process = await asyncio.create_subprocess_exec(
        docker,
        "info",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0


async def build(checkout: Checkout) -> Path:
    """Build for a container on this machine; returns the built template. Raises `StackError`."""
    architecture = machine_architecture()
    folder = checkout.local / "invoke" / architecture
    folder.mkdir(parents=True, exist_ok=True)
    arguments: list[str | Path] = ["build", "--template-file", checkout.template, "--build-dir", folder / "build"]
    status, _ = await _sam(
        checkout,
        [*arguments, "--parameter-overrides", f"Architecture={architecture}"],
        {
            "LAYER_ARCHITECTURE": architecture,
            "LAYER_PIP": f"{checkout.tools / 'uv' / 'bin' / 'python'} -m pip",
        },
        cwd=folder,
        output=sys.stderr.fileno(),
    )
    if status:
        raise StackError(f"sam build failed (exit status {status}).")
    return folder / "build" / "template.yaml"


async def invoke(function: BuiltFunction, event: str, checkout: Checkout, options: Sequence[str]) -> FunctionResponse:
    """Run one invocation; what SAM and the function log goes to stderr. Raises `StackError`."""
    arguments: list[str | Path] = [
        "local",
        "invoke",
        function.logical_id,
        "--template",
        function.template,
        "--event",
        "-",
    ]
    # Where it can, a container shares the host's network: the local stack listens on loopback only.
    network = ["--docker-network", "host"] if sys.platform == "linux" else []
    status, output = await _sam(
        checkout,
        [*arguments, *network, *options],
        {},
        cwd=function.template.parent,
        output=asyncio.subprocess.PIPE,
        stdin=event.encode(),
    )
    if status:
        raise StackError(f"sam local invoke failed (exit status {status}).")
    return FunctionResponse(output.strip(b"\n"))


async def _sam(
    checkout: Checkout,
    arguments: Sequence[str | Path],
    extra: dict[str, str],
    *,
    cwd: Path,
    output: int,
    stdin: bytes = b"",
) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        checkout.tools / "sam" / "bin" / "sam",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=output,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", **extra},
        cwd=cwd,
    )
    try:
        stdout, _ = await process.communicate(stdin)
    except asyncio.CancelledError:
        # SAM removes its container on this.
        process.terminate()
        await process.wait()
        raise
    return await process.wait(), stdout or b""
