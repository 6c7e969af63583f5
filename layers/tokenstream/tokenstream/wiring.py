"""From settings to the live parts that functions share: made once a sandbox, at its cold start.

botocore alone, without boto3's resource layer, spares a fifth of the import time.
"""

from functools import cache
from time import time

import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials

from tokenstream import settings
from tokenstream.auth import TokenVerifier
from tokenstream.sessions import Sessions
from tokenstream.signing import SignedConnection
from tokenstream.sources.bedrock import Bedrock

MODEL_SILENCE_SECONDS = 120.0
"""How long a model may send nothing before its stream counts as dead; reasoning models think for long."""

# The table answers in milliseconds. What takes longer is tried again rather than waited for, within a lease's time.
_TABLE_CONFIG = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}, tcp_keepalive=True
)


@cache
def _aws() -> botocore.session.Session:
    return botocore.session.get_session()


def sessions(store: settings.SessionStore) -> Sessions:
    """Return the sessions table."""
    client = _aws().create_client("dynamodb", region_name=store.region, config=_TABLE_CONFIG)
    return Sessions(client, store.table, ttl=store.ttl, store_answers=store.store_answers)


def bedrock(models: settings.BedrockRuntime) -> Bedrock:
    """Return the models."""
    credentials = _credentials()

    def connect() -> SignedConnection:
        return SignedConnection(
            models.endpoint, "bedrock", models.region, credentials, read_timeout=MODEL_SILENCE_SECONDS
        )

    return Bedrock(connect, api=models.api, guardrail=models.guardrail)


def token_verifier(pool: settings.UserPool) -> TokenVerifier:
    """Return what verifies the users' tokens."""
    return TokenVerifier(issuer=pool.issuer, client_id=pool.client_id, jwks_url=pool.jwks_url, clock=time)


def _credentials() -> Credentials:
    credentials = _aws().get_credentials()
    if credentials is None:
        raise settings.SettingsError("there are no AWS credentials")
    return credentials
