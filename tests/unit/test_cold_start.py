"""What the functions' handlers load when they are imported. A test of time would fail on a busy machine alone."""

import subprocess
import sys

import pytest

from benchmarks.start_up import FUNCTIONS, environment

# Each takes from ten to hundreds of milliseconds of a cold start.
SDK = {"boto3", "botocore.client", "botocore.credentials", "botocore.session", "s3transfer", "urllib3", "aws_xray_sdk"}
OTHERS = {"asyncio", "concurrent.futures", "http.client", "pydantic", "multiprocessing", "awslambdaric"}
# For tokens: whoever sits behind an authorizer verifies none. The authorizer itself does with each of its starts, and a
# start has more CPU than a call.
TOKENS = {"jwt", "cryptography"}
AUTHORIZER = "ws_authorize"


def modules_loaded_by(program: str, function: str) -> set[str]:
    process = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"],
        env=environment(function),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(process.stdout.split())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_cold_start_waits_for_nothing_that_the_function_can_do_without(function: str) -> None:
    loaded = modules_loaded_by("import app", function)
    assert {"app", "tokenstream.telemetry"} <= loaded
    # PyJWT brings some of the others along.
    spared = SDK if function == AUTHORIZER else SDK | OTHERS | TOKENS
    assert loaded & spared == set()


def test_where_the_environment_has_no_credentials_the_chain_of_the_sdk_is_asked() -> None:
    """As with SnapStart, whose sandboxes get theirs from a container's endpoint."""
    program = (
        "import os; del os.environ['AWS_ACCESS_KEY_ID']\n"
        "os.environ |= {'AWS_EC2_METADATA_DISABLED': 'true', 'HOME': '/nowhere'}\n"
        "from tokenstream.settings import SettingsError\n"
        "try:\n    import app\nexcept SettingsError: pass"
    )
    assert "botocore.session" in modules_loaded_by(program, "ws_connection")
