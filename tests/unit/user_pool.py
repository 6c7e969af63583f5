"""A user pool's keys and tokens, real ones, and everything that a forger needs."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_pool"
CLIENT_ID = "client"
SUB = "11111111-2222-4333-8444-555555555555"


@dataclass(frozen=True)
class SigningKey:
    kid: str
    private: RSAPrivateKey

    @classmethod
    def generate(cls, kid: str) -> "SigningKey":
        return cls(kid, generate_private_key(public_exponent=65537, key_size=2048))

    @property
    def jwk(self) -> dict[str, Any]:
        return jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True) | {
            "kid": self.kid,
            "alg": "RS256",
            "use": "sig",
        }

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """Sign claims; a header given as None is left out."""
        return token({"alg": "RS256", "typ": "JWT", "kid": self.kid, **header}, claims, self._signature)

    def _signature(self, signed: bytes) -> bytes:
        algorithm = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
        return algorithm.sign(signed, self.private)


def token(header: Mapping[str, Any], claims: object, sign: Any) -> str:
    header = {name: value for name, value in header.items() if value is not None}
    signed = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    return (signed + b"." + _base64(sign(signed))).decode()


def hs256(secret: bytes) -> Any:
    return lambda signed: hmac.new(secret, signed, hashlib.sha256).digest()


def claims(**changes: Any) -> dict[str, Any]:
    """Return an ID token's claims as Cognito has them; a change to None leaves the claim out."""
    now = int(time())
    all_claims = {
        "sub": SUB,
        "aud": CLIENT_ID,
        "iss": ISSUER,
        "token_use": "id",
        "cognito:username": "user",
        "auth_time": now,
        "iat": now,
        "exp": now + 3600,
        **changes,
    }
    return {name: value for name, value in all_claims.items() if value is not None}


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
