# ruff: noqa: S603, S607 - runs the project's own script

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.streaming_layer import FUNCTION, LAYER_SOURCES, link_layer
from tests.unit.runtime_api_recorder import RuntimeApiRecorder


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    return link_layer(tmp_path / "layer")


def interpreter(folder: Path, name: str) -> Path:
    """Stand in for an interpreter: print how it is called."""
    path = folder / name
    path.write_text('#!/bin/sh\necho "$@"\necho "$PYTHONPATH"\n')
    path.chmod(0o755)
    return path


def called(layer: Path, python: Path, **environment: str) -> tuple[str, list[str]]:
    command: list[str | Path] = [layer / "streaming-bootstrap", python, "/var/runtime/bootstrap.py"]
    output = subprocess.run(
        command, env={"PATH": os.defpath, **environment}, capture_output=True, text=True, check=True
    )
    arguments, path = output.stdout.splitlines()
    return arguments, path.split(":")


def test_the_search_path_is_the_managed_runtimes(layer: Path, tmp_path: Path) -> None:
    arguments, path = called(
        layer,
        interpreter(tmp_path, "python3.13"),
        AWS_EXECUTION_ENV="AWS_Lambda_python3.13",
        LAMBDA_TASK_ROOT="/var/task",
        LAMBDA_RUNTIME_DIR="/var/runtime",
    )
    assert arguments == "-P -m tokenstream.runtime"
    packages = [f"{layer}/python", f"{layer}/python/lib/python3.13/site-packages"]
    assert path == ["/var/task", *packages, "/var/runtime"]


def test_the_pinned_packages_stand_before_what_the_environment_adds(layer: Path, tmp_path: Path) -> None:
    _, path = called(layer, interpreter(tmp_path, "python3.12"), PYTHONPATH="/var/runtime:/mine")
    assert path[1:] == [
        f"{layer}/python",
        f"{layer}/python/lib/python3.12/site-packages",
        "/var/runtime",
        "/var/runtime",
        "/mine",
    ]


def test_a_layer_may_lie_in_a_folder_with_blanks(tmp_path: Path) -> None:
    layer = link_layer(tmp_path / "a layer")
    assert called(layer, interpreter(tmp_path, "python3.13"))[1][1] == f"{layer}/python"


def test_the_wrapper_is_executable() -> None:
    assert os.access(LAYER_SOURCES / "streaming-bootstrap", os.X_OK)


@pytest.mark.skipif(shutil.which("dash") is None, reason="dash is the strictest of the common shells")
def test_the_wrapper_needs_no_more_than_a_posix_shell() -> None:
    subprocess.run(["dash", "-n", LAYER_SOURCES / "streaming-bootstrap"], check=True)


def test_multi_concurrency_is_refused_at_the_start(layer: Path) -> None:
    with RuntimeApiRecorder() as api:
        environment = {
            "PATH": os.defpath,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_MAX_CONCURRENCY": "8",
            "LAMBDA_TASK_ROOT": str(FUNCTION),
            "_HANDLER": "app.handler",
        }
        command: list[str | Path] = [layer / "streaming-bootstrap", sys.executable, "-m", "awslambdaric"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        post = api.post()
    assert run.returncode == 1
    assert "AWS_LAMBDA_MAX_CONCURRENCY" in run.stderr
    assert post.target == "/2018-06-01/runtime/init/error"
    assert b"Runtime.MultiConcurrencyUnsupported" in post.body()


def test_importing_the_stream_loads_neither_the_official_client_nor_http() -> None:
    check = (
        "import sys, tokenstream.runtime; print(sorted({'awslambdaric', 'http.client', 'ssl'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", check],
        env={"PYTHONPATH": str(LAYER_SOURCES)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
