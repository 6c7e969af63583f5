"""What a worker process runs and sees: Lambda's environment for a managed Python runtime, on this machine."""

import os
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

from local.functions.config import FunctionConfig

_WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
_RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
_INTERPRETER_PACKAGES = sysconfig.get_path("purelib")
"""Stands for /var/runtime: the packages that the runtime itself brings, botocore among them."""


class LayerRoot:
    """The folder that stands for /opt. Overlaid with sources, it is a temporary folder of links."""

    def __init__(self, config: FunctionConfig) -> None:
        self._overlay: TemporaryDirectory[str] | None = None
        self.path = config.layer.resolve()
        if config.layer_sources is not None:
            self._overlay = TemporaryDirectory(prefix="tokenstream-layer-")
            self.path = _link_overlay(Path(self._overlay.name), self.path, config.layer_sources.resolve())

    def close(self) -> None:
        """Remove the links."""
        if self._overlay is not None:
            self._overlay.cleanup()


def _link_overlay(root: Path, layer: Path, sources: Path) -> Path:
    packages = {entry.name: entry for entry in (layer / "python").iterdir()}
    packages |= {entry.name: entry for entry in sources.iterdir() if (entry / "__init__.py").is_file()}
    (root / "python").mkdir()
    for name, entry in packages.items():
        (root / "python" / name).symlink_to(entry)
    for entry in layer.iterdir():
        if entry.name != "python":
            (root / entry.name).symlink_to(entry)
    return root


def worker_command(config: FunctionConfig, opt: Path) -> list[str]:
    """Return awslambdaric's command line, behind the exec wrapper where the function has one."""
    command = [sys.executable, "-m", "awslambdaric", config.handler]
    wrapper = config.environment.get(_WRAPPER)
    return [_locate(wrapper, opt), *command] if wrapper else command


def worker_environment(config: FunctionConfig, opt: Path, runtime_api: str, log_stream: str) -> dict[str, str]:
    """Return a worker's whole environment. Of the parent's own it has PATH alone: Lambda's has nothing of a laptop."""
    code = str(config.code.resolve())
    packages = [opt / "python", opt / "python" / "lib" / _RUNTIME / "site-packages", Path(_INTERPRETER_PACKAGES)]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([code, *map(str, packages)]),
        "AWS_REGION": config.region,
        "AWS_DEFAULT_REGION": config.region,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        **config.environment,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{_RUNTIME}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.memory),
        "AWS_LAMBDA_FUNCTION_NAME": config.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{config.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_RUNTIME_DIR": _INTERPRETER_PACKAGES,
        "LAMBDA_TASK_ROOT": code,
        "_HANDLER": config.handler,
    }
    if _WRAPPER in environment:
        environment[_WRAPPER] = _locate(environment[_WRAPPER], opt)
    return environment


def _locate(path: str, opt: Path) -> str:
    """Return where ``/opt/…`` is on this machine."""
    return str(opt / path.removeprefix("/opt/")) if path.startswith("/opt/") else path
