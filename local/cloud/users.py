"""Users of the local stack, made in its user pool as an administrator would."""

import secrets
from dataclasses import dataclass

from local.cloud.clients import AwsClients

USERNAME = "demo@example.com"
OTHER_USERNAMES = ("other@example.com",)
"""To see that one user can't reach another's sessions."""


@dataclass(frozen=True, slots=True)
class User:
    """Who can sign in."""

    username: str
    password: str


def create_user(aws: AwsClients, pool: str, username: str) -> User:
    """Make a user with a random password that needs no change at the first sign-in. Blocks."""
    # The suffix has one of each kind of character that a password policy may ask for.
    user = User(username, f"{secrets.token_urlsafe(12)}-aA1")
    cognito = aws("cognito-idp")
    cognito.admin_create_user(
        UserPoolId=pool,
        Username=username,
        UserAttributes=[{"Name": "email", "Value": username}, {"Name": "email_verified", "Value": "true"}],
        MessageAction="SUPPRESS",
    )
    cognito.admin_set_user_password(UserPoolId=pool, Username=username, Password=user.password, Permanent=True)
    return user
