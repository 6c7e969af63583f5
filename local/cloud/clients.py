"""Clients for the emulator's services."""

from functools import cache
from typing import Any

import botocore.session

from local.cloud.environment import DUMMY_CREDENTIALS


class AwsClients:
    """Makes each service's client once. Their calls block: use them in a thread."""

    def __init__(self, endpoint: str, region: str) -> None:
        self.endpoint = endpoint
        self.region = region
        self._session = botocore.session.Session()
        self._client = cache(self._create)

    def __call__(self, service: str) -> Any:
        """Give the client of a service, by its name in botocore."""
        return self._client(service)

    def _create(self, service: str) -> Any:
        return self._session.create_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=DUMMY_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=DUMMY_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
