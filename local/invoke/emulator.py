"""AWS's Runtime Interface Emulator, run directly: the real bootstrap and handler in a process, without a container."""

import asyncio
import platform
import sys

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout

from local.checkout import Checkout
from local.child_process import ChildProcess
from local.errors import StackError
from local.functions.config import FunctionConfig
from local.functions.worker_environment import LayerRoot, worker_command, worker_environment
from local.invoke.response import FunctionResponse
from local.loopback import HOST, free_port

_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}
_INVOKE = "/2015-03-31/functions/function/invocations"
_START_SECONDS = 20.0
_POLL_SECONDS = 0.02
_MARGIN_SECONDS = 10.0
"""Beyond the function's own timeout, which the emulator enforces."""


async def invoke(
    config: FunctionConfig, event: bytes, checkout: Checkout, *, verbose: bool = False
) -> FunctionResponse:
    """Run one invocation; what the function logs goes to stderr, verbose with the emulator's own log around it.

    Raises `StackError`.
    """
    emulator = _emulator(checkout)
    address, runtime_api = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    opt = LayerRoot(config)
    try:
        environment = worker_environment(config, opt.path, runtime_api, "local-invoke")
        environment["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(int(config.timeout))
        # The code runs where its sources are.
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        addresses = ["--runtime-interface-emulator-address", address, "--runtime-api-address", runtime_api]
        # Below errors there is nothing but its steps, an orderly end among them told as a kill.
        level = ["--log-level", "info" if verbose else "error"]
        process = await ChildProcess.start(
            [emulator, *level, *addresses, *worker_command(config, opt.path)],
            environment,
            cwd=config.code,
            output=sys.stderr.fileno(),
        )
        try:
            return await _post(f"http://{address}{_INVOKE}", event, config.timeout + _MARGIN_SECONDS, process)
        finally:
            await process.end()
    finally:
        opt.close()


def _emulator(checkout: Checkout) -> str:
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        raise StackError(
            "Without a container engine a function runs on Linux only (x86_64 or arm64): "
            "start Docker, Finch or Podman, or send the request to `make run`."
        )
    packages = checkout.tools / "sam" / "lib"
    for found in packages.glob(f"python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"):
        return str(found)
    raise StackError(f"The Runtime Interface Emulator is not in {packages}: make install")


async def _post(url: str, event: bytes, timeout: float, process: ChildProcess) -> FunctionResponse:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    async with ClientSession(timeout=ClientTimeout(timeout)) as http:
        while True:
            try:
                async with http.post(url, data=event) as answer:
                    return FunctionResponse(await answer.read())
            except ClientConnectionError as error:
                if process.exited:
                    raise StackError("The emulator ended before the function answered.") from error
                if asyncio.get_running_loop().time() > deadline:
                    raise StackError(f"The emulator did not start within {_START_SECONDS:.0f} s.") from error
            except TimeoutError as error:
                raise StackError(f"No answer within {timeout:.0f} s.") from error
            await asyncio.sleep(_POLL_SECONDS)
