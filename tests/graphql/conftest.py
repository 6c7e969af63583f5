import asyncio
from collections.abc import Iterator

import pytest

from local.checkout import Checkout, this_checkout
from local.cloud.clients import AwsClients
from local.cloud.ministack import ministack
from tests.graphql.emulated_api import EmulatedApi

REGION = "us-east-1"


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsClients]:
    """Clients of a MiniStack of the session's own, as the local stack runs it."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    (checkout.root / ".tools").symlink_to(this_checkout().tools)
    checkout.prepare()
    checkout.clean()
    emulator = ministack(checkout, REGION)
    with asyncio.Runner() as runner:
        running = runner.run(emulator.__aenter__())
        try:
            yield AwsClients(running.endpoint, REGION)
        finally:
            runner.run(emulator.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def api(aws: AwsClients) -> Iterator[EmulatedApi]:
    """The GraphQL API with its table."""
    api = EmulatedApi(aws)
    yield api
    api.close()
