"""From settings to the live parts that functions share: made once a sandbox, at its cold start.

botocore alone, without boto3's resource layer, spares a fifth of the import time.
"""

from functools import cache
from time import time

import botocore.session
from botocore.config import Config

from tokenstream.auth import TokenVerifier
from tokenstream.sessions import Sessions
from tokenstream.settings import Settings, SettingsError
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


def sessions(settings: Settings) -> Sessions:
    """Return the sessions table."""
    client = _aws().create_client("dynamodb", region_name=settings.region, config=_TABLE_CONFIG)
    return Sessions(client, settings.sessions_table, ttl=settings.session_ttl, store_answers=settings.store_answers)


def bedrock(settings: Settings) -> Bedrock:
    """Return the models."""
    credentials = _aws().get_credentials()
    if credentials is None:
        raise SettingsError("there are no AWS credentials")

    def connect() -> SignedConnection:
        return SignedConnection(
            settings.bedrock_endpoint, "bedrock", settings.region, credentials, read_timeout=MODEL_SILENCE_SECONDS
        )

    return Bedrock(connect, api=settings.bedrock_api, guardrail=settings.guardrail)


def token_verifier(settings: Settings) -> TokenVerifier:
    """Return what verifies the users' tokens."""
    return TokenVerifier(
        issuer=settings.token_issuer, client_id=settings.user_pool_client_id, jwks_url=settings.jwks_url, clock=time
    )
