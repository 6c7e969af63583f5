"""Where things are in a checkout. Whatever the stack writes is below `.local`."""

import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Checkout:
    """The folders and files of one checkout, absolute."""

    root: Path

    @property
    def template(self) -> Path:
        """The template that is deployed."""
        return self.root / "template.yaml"

    @property
    def functions(self) -> Path:
        """One folder a function."""
        return self.root / "functions"

    @property
    def state_machines(self) -> Path:
        """One definition a state machine."""
        return self.root / "statemachine"

    @property
    def layer(self) -> Path:
        """The shared layer's sources."""
        return self.root / "layers" / "tokenstream"

    @property
    def web_client(self) -> Path:
        """The web client as built; not there where it wasn't."""
        return self.root / "clients" / "web" / "dist"

    @property
    def tools(self) -> Path:
        """Applications with an environment of their own."""
        return self.root / ".tools"

    @property
    def local(self) -> Path:
        """What runs here leaves its files here; nothing in it is kept in version control."""
        return self.root / ".local"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.local / "logs"

    @property
    def endpoints(self) -> Path:
        """What a client needs to know of the running stack."""
        return self.local / "endpoints.json"

    @property
    def certificate_authority(self) -> Path:
        """Whom a client has to trust that uses TLS."""
        return self.local / "ca.pem"

    @property
    def lock(self) -> Path:
        """Held while a stack runs."""
        return self.local / "run.lock"

    @property
    def sam(self) -> Path:
        """What SAM builds for this machine, by interpreter."""
        return self.local / "sam" / f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"

    @property
    def built_template(self) -> Path:
        """The template as built: its `CodeUri` and `ContentUri` name built folders."""
        return self.sam / "build" / "template.yaml"

    @property
    def temporary(self) -> Path:
        """What doesn't outlive a run; the next one removes what a killed one left."""
        return self.local / "tmp"

    def prepare(self) -> None:
        """Create the folder that holds the lock, for its owner alone."""
        self.local.mkdir(mode=0o700, exist_ok=True)

    def clean(self) -> None:
        """Remove what a run left that was killed, and create what this one writes to. Needs the lock."""
        self.endpoints.unlink(missing_ok=True)
        self.certificate_authority.unlink(missing_ok=True)
        shutil.rmtree(self.temporary, ignore_errors=True)
        for folder in (self.logs, self.sam, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)


def this_checkout() -> Checkout:
    """Find the checkout that this module belongs to."""
    return Checkout(Path(__file__).resolve().parent.parent)
