"""The real SAM CLI: builds the template for this machine and deploys it to the emulator."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from local.checkout import Checkout
from local.child_process import ChildProcess
from local.cloud.build_stamp import is_built, set_built, sources_digest
from local.errors import StackError

STACK_NAME = "tokenstream"
ARTIFACTS_BUCKET = "tokenstream-artifacts"
_ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Sam:
    """`sam build` and `sam deploy`, apart from the user's own `.aws-sam` and AWS settings.

    Expects a process environment that was isolated (`local.cloud.environment`).
    """

    def __init__(self, checkout: Checkout) -> None:
        self._checkout = checkout
        self._program = checkout.tools / "sam" / "bin" / "sam"
        if not self._program.exists():
            raise StackError(f"The SAM CLI is not installed ({self._program} is missing): make install")

    async def build(self) -> None:
        """Build layer and functions, unless they are built."""
        digest = await asyncio.to_thread(sources_digest, self._checkout)
        if is_built(self._checkout, digest):
            return
        set_built(self._checkout, None)
        await self._run(
            "sam build",
            [
                *("build", "--template-file", self._checkout.template),
                *("--build-dir", self._checkout.built_template.parent),
            ],
            {
                "LAYER_TARGET": "host",
                "LAYER_PYTHON": sys.executable,
                "LAYER_PIP": f"{self._checkout.tools / 'uv' / 'bin' / 'python'} -m pip",
            },
        )

        set_built(self._checkout, digest)

    async def deploy(self, endpoint: str, parameters: Mapping[str, str]) -> None:
        """Deploy what was built to the emulator at `endpoint`, which has the bucket `ARTIFACTS_BUCKET`."""
        overrides = [f"{name}={value}" for name, value in parameters.items()]
        await self._run(
            "sam deploy",
            [
                *("deploy", "--template-file", self._checkout.built_template, "--stack-name", STACK_NAME),
                *("--s3-bucket", ARTIFACTS_BUCKET, "--capabilities", "CAPABILITY_IAM", "--no-progressbar"),
                *("--no-confirm-changeset", "--no-fail-on-empty-changeset"),
                *("--parameter-overrides", *overrides),
            ],
            {"AWS_ENDPOINT_URL": endpoint},
        )

    async def _run(self, name: str, arguments: list[str | Path], extra: Mapping[str, str]) -> None:
        environment = {
            **os.environ,
            "SAM_CLI_TELEMETRY": "0",
            "__SAM_CLI_APP_DIR": str(self._checkout.sam / "home"),
            # Seconds between looks at the stack; the default of 5 s is for AWS.
            "SAM_CLI_POLL_DELAY": "0.1",
            **extra,
        }
        # It creates .aws-sam in its working directory, whatever the options.
        process = await ChildProcess.start(
            [self._program, *arguments], environment, cwd=self._checkout.sam, output=asyncio.subprocess.PIPE
        )
        try:
            output = await process.read()
            status = await process.wait()
        finally:
            await process.end()
        (self._checkout.logs / f"{name.replace(' ', '-')}.log").write_bytes(output)
        if status:
            raise StackError(f"{name} failed (exit status {status}).", _cleaned(output))


def _cleaned(output: bytes) -> str:
    """Leave what a person reads: no terminal codes, no overwritten lines, no runs of empty ones."""
    text = _ANSI.sub(b"", output).decode(errors="replace").replace("\r\n", "\n")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
