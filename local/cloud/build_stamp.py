"""Tells whether what was built is still what the sources say.

SAM's own cache takes a compiled `.pyc` beside a source, which any test run leaves there, for a change.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from local.checkout import Checkout

_STAMP = "build.sha256"


def sources_digest(checkout: Checkout) -> str:
    """Digest the template and all that a build reads. Blocks."""
    digest = hashlib.sha256()
    for path in _sources(checkout):
        for part in (str(path.relative_to(checkout.root)).encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8))
            digest.update(part)
    return digest.hexdigest()


def _sources(checkout: Checkout) -> Iterator[Path]:
    yield checkout.template
    for folder in (checkout.layer, checkout.functions):
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def is_built(checkout: Checkout, digest: str) -> bool:
    """Whether the last build was made of exactly these sources."""
    stamp = checkout.sam / _STAMP
    return checkout.built_template.exists() and stamp.exists() and stamp.read_text() == digest


def set_built(checkout: Checkout, digest: str | None) -> None:
    """Note what the build was made of; None while it is made anew."""
    stamp = checkout.sam / _STAMP
    if digest is None:
        stamp.unlink(missing_ok=True)
    else:
        stamp.write_text(digest)
