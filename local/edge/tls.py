"""A certificate for one run of the stack: the AppSync clients that people use speak to nothing without one.

The authority's key is kept nowhere, so that whoever trusts it trusts this run alone.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from local.loopback import HOST


class RunCertificate:
    """Valid for this machine's names. Making it takes some tens of milliseconds."""

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="tokenstream local stack")
        self._certificate = self._authority.issue_cert(HOST, "localhost", "::1")

    def server_context(self) -> ssl.SSLContext:
        """Make the context of a server that shows it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certificate.configure_cert(context)
        return context

    @contextmanager
    def published(self, path: Path) -> Iterator[None]:
        """Keep the authority's certificate there, as PEM, until the end."""
        draft = path.with_suffix(".tmp")
        draft.write_bytes(self._authority.cert_pem.bytes())
        draft.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
