"""The layer as `sam build` makes it for Lambda, on a machine with any Python and any processor."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import SourcelessFileLoader
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from local.checkout import Checkout

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "tokenstream"
PIP = f"{ROOT / '.tools' / 'uv' / 'bin' / 'python'} -m pip"


def build(target: Path, **variables: str) -> Path:
    """Run `sam build` for the layer; return its root."""
    command: list[str | Path] = [
        ROOT / ".tools/sam/bin/sam",
        "build",
        "TokenstreamLayer",
        "--template",
        ROOT / "template.yaml",
    ]
    architecture = variables.get("LAYER_ARCHITECTURE", "arm64")
    subprocess.run(  # noqa: S603 - the SAM CLI
        [*command, "--build-dir", target, "--parameter-overrides", f"Architecture={architecture}"],
        # SAM creates .aws-sam in its working directory, whatever the options.
        cwd=target.parent,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", "LAYER_PIP": PIP, **variables},
        check=True,
        capture_output=True,
        timeout=200,
    )
    return target / "TokenstreamLayer"


def make(artifacts: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the user's own make
        ["make", "--directory", LAYER, "build-TokenstreamLayer"],  # noqa: S607 - the same
        env={**os.environ, "ARTIFACTS_DIR": str(artifacts), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def digest(root: Path) -> str:
    """What decides whether `sam deploy` uploads: names and contents."""
    entries = [(str(path.relative_to(root)), path.read_bytes()) for path in files(root)]
    return hashlib.sha256(repr(sorted(entries)).encode()).hexdigest()


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer, compiled by this interpreter in place of the Python 3.13 that the machine may not have."""
    return build(tmp_path_factory.mktemp("lambda") / "build", LAYER_COMPILER=sys.executable)


def test_every_binary_is_for_arm64_and_python_3_13(layer: Path) -> None:
    binaries = [path for path in files(layer) if ".so" in path.suffixes]
    assert binaries
    for binary in binaries:
        header = binary.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == 0xB7, f"{binary.name} is not for arm64"
        assert "cpython-313-aarch64" in binary.name or ".abi3." in binary.name


def test_the_bootstrap_can_be_started(layer: Path) -> None:
    bootstrap = layer / "streaming-bootstrap"
    assert os.access(bootstrap, os.X_OK)
    assert bootstrap.read_text() == (LAYER / "streaming-bootstrap").read_text()


def test_the_package_is_in_it_whole(layer: Path) -> None:
    def modules(package: Path) -> set[str]:
        return {str(path.relative_to(package)) for path in package.rglob("*.py")}

    assert modules(layer / "python" / "tokenstream") == modules(LAYER / "tokenstream")


def test_it_holds_nothing_of_the_machine_it_was_built_on(layer: Path) -> None:
    names = {path.name for path in layer.rglob("*")}
    assert not names & {"RECORD", "INSTALLER", "bin", "tests"}
    folder = str(layer.parent).encode()
    assert not [path for path in files(layer) if folder in path.read_bytes()]


def test_no_module_is_compiled_at_a_cold_start(layer: Path) -> None:
    modules = [path for path in files(layer / "python" / "tokenstream") if path.suffix == ".py"]
    assert modules
    for module in modules:
        bytecode = Path(cache_from_source(str(module)))
        # By the times of the files it would count as out of date: a deploy doesn't keep them. Source: PEP 552.
        assert int.from_bytes(bytecode.read_bytes()[4:8], "little") == 0b01, f"{module.name} is checked for changes"
        code = SourcelessFileLoader("", str(bytecode)).get_code("")
        assert code is not None
        assert code.co_filename == f"/opt/python/{module.relative_to(layer / 'python')}"


def test_lambda_takes_its_size(layer: Path) -> None:
    megabytes = sum(path.stat().st_size for path in files(layer)) / 2**20
    assert megabytes < 60, "function and layers may have 250 MB, and every one costs start-up time"


def test_the_same_sources_give_the_same_bytes(layer: Path, tmp_path: Path) -> None:
    # What SAM does around it, it does to either.
    again = make(tmp_path, LAYER_PIP=PIP, LAYER_COMPILER=sys.executable)
    assert again.returncode == 0, again.stderr
    assert digest(tmp_path) == digest(layer)


def test_a_layer_for_x86_64_has_no_arm64_in_it(tmp_path: Path) -> None:
    layer = build(tmp_path / "build", LAYER_ARCHITECTURE="x86_64")
    names = [path.name for path in files(layer) if ".so" in path.suffixes]
    assert names
    assert not [name for name in names if "aarch64" in name]


def test_a_layer_for_this_machine_imports_here(built: Path) -> None:
    layer = Checkout(built).built_template.with_name("TokenstreamLayer")
    modules = "awslambdaric, jwt, msgspec, cryptography.hazmat.bindings._rust, tokenstream.frames"
    script = f"import sys; sys.path.insert(0, {str(layer / 'python')!r}); import {modules}; print(msgspec.__file__)"
    result = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.startswith(str(layer))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LAYER_ARCHITECTURE": "arm"}, "has to be arm64 or x86_64"),
        ({"LAYER_TARGET": "laptop"}, "has to be lambda or host"),
        ({"LAYER_PIP": ""}, "no Python on the PATH has pip"),
        ({"ARTIFACTS_DIR": ""}, "call sam build"),
    ],
)
def test_what_is_missing_or_wrong_is_said(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    result = make(tmp_path, **variables)
    assert result.returncode != 0
    assert message in result.stderr


def test_a_pip_is_found_behind_an_environment_without_one(tmp_path: Path) -> None:
    without_pip = tmp_path / "bin"
    without_pip.mkdir()
    (without_pip / "python3").write_text("#!/bin/sh\nexit 1\n")
    (without_pip / "python3").chmod(0o755)
    with_pip = ROOT / ".tools" / "uv" / "bin"
    path = os.pathsep.join([str(without_pip), str(with_pip), "/usr/bin", "/bin"])
    result = subprocess.run(  # noqa: S603 - the user's own make
        ["make", "--directory", LAYER, "--dry-run", "build-TokenstreamLayer"],  # noqa: S607 - the same
        env={"PATH": path, "ARTIFACTS_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"{with_pip / 'python3'} -m pip" in result.stdout


def test_a_python_3_13_that_is_only_a_shim_does_not_compile_the_layer(tmp_path: Path) -> None:
    shim, real = tmp_path / "shim", tmp_path / "real"
    for folder, status in ((shim, 127), (real, 0)):
        folder.mkdir()
        (folder / "python3.13").write_text(f"#!/bin/sh\nexit {status}\n")
        (folder / "python3.13").chmod(0o755)
    command: list[str | Path] = ["make", "--directory", LAYER, "--dry-run", "build-TokenstreamLayer"]
    made = {}
    for name, folders in (("with", [shim, real]), ("without", [shim])):
        path = os.pathsep.join([*map(str, folders), "/usr/bin", "/bin"])
        made[name] = subprocess.run(  # noqa: S603 - the user's own make
            command,
            env={"PATH": path, "ARTIFACTS_DIR": str(tmp_path), "LAYER_PIP": PIP},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    assert f'"{real}/python3.13" -m compileall' in made["with"]
    assert f"{shim}/python3.13" not in made["with"] + made["without"]
