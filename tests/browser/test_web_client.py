"""The web client in a real browser, against the local stack: the flows of `clients/web/tests/browser`."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.figures import PROPERTY
from tests.local.stack_process import RunningStack

_WEB_CLIENT = Path(__file__).parents[2] / "clients" / "web"
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.timeout(600)
def test_people_can_do_in_a_browser_what_the_page_is_for(
    stack: RunningStack,
    tmp_path: Path,
    subtests: pytest.Subtests,
    record_property: Callable[[str, object], None],
) -> None:
    assert "webUrl" in stack.endpoints, "the page isn't built: make web"
    file = tmp_path / "report.json"
    vitest = ["node", "node_modules/vitest/vitest.mjs", "run", "--config", "vitest.browser.config.ts"]
    run = subprocess.run(  # noqa: S603 this project itself
        [*vitest, "--reporter=default", "--reporter=json", f"--outputFile.json={file}"],
        cwd=_WEB_CLIENT,
        env={
            **os.environ,
            "TOKENSTREAM_ENDPOINTS": str(stack.checkout / ".local" / "endpoints.json"),
            "NO_COLOR": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    output = _TERMINAL_CODES.sub("", run.stdout + run.stderr)
    assert file.exists(), output
    flows = [flow for part in json.loads(file.read_text())["testResults"] for flow in part["assertionResults"]]
    for flow in flows:
        with subtests.test(flow["title"]):
            assert flow["status"] == "passed", "\n".join(flow["failureMessages"])
    for figure in re.findall(r"^figure: (.*)$", output, re.MULTILINE):
        record_property(PROPERTY, figure)
    # A file that can't be loaded has no flows; what a failing page showed is in here as well.
    assert run.returncode == 0, output
    assert flows
