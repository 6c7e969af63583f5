"""Cognito's variant of the Secure Remote Password protocol (SRP-6a): the client proves that it knows the password.

Pure arithmetic, without I/O. It follows what Amazon's own client libraries compute (`amazon-cognito-identity-js`,
`AuthenticationHelper`): the 3072-bit prime of RFC 3526 with generator 2, SHA-256, numbers as big-endian bytes with a
zero byte before a high bit, and a 16-byte key derived by HKDF with the info `Caldera Derived Key`.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7"
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C"
    "BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    16,
)
GENERATOR = 2

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def padded(number: int) -> bytes:
    """Encode a number as the big-endian bytes that are hashed: with a zero byte before a high bit."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def hashed(*parts: bytes) -> int:
    """Return the SHA-256 of the parts, joined, as a number."""
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest(), "big")


MULTIPLIER = hashed(padded(PRIME), padded(GENERATOR))


class PasswordProof:
    """One sign-in: `public_value` goes out with the user name, `answer` replies to the challenge.

    The password itself is never sent. `secret` is the random exponent, given only by tests.
    """

    def __init__(self, pool_id: str, password: str, *, secret: int | None = None) -> None:
        self._pool_name = pool_id.partition("_")[2]
        self._password = password
        self._secret = secret if secret is not None else 1 + secrets.randbelow(PRIME - 2)
        self._public = pow(GENERATOR, self._secret, PRIME)

    @property
    def public_value(self) -> str:
        """`SRP_A`, in hexadecimal digits."""
        return f"{self._public:x}"

    def answer(self, challenge: Mapping[str, str], now: datetime) -> dict[str, str]:
        """Reply to the parameters of a `PASSWORD_VERIFIER` challenge.

        Raises `KeyError` for a missing parameter and `ValueError` for one that makes the protocol unsafe.
        """
        user_id = challenge["USER_ID_FOR_SRP"]
        secret_block = challenge["SECRET_BLOCK"]
        key = self._key(user_id, salt=int(challenge["SALT"], 16), server_value=int(challenge["SRP_B"], 16))
        timestamp = cognito_time(now)
        claim = (self._pool_name + user_id).encode() + base64.b64decode(secret_block) + timestamp.encode()
        signature = hmac.digest(key, claim, hashlib.sha256)
        return {
            "USERNAME": user_id,
            "PASSWORD_CLAIM_SECRET_BLOCK": secret_block,
            "PASSWORD_CLAIM_SIGNATURE": base64.b64encode(signature).decode(),
            "TIMESTAMP": timestamp,
        }

    def _key(self, user_id: str, *, salt: int, server_value: int) -> bytes:
        scrambler = hashed(padded(self._public), padded(server_value))
        if server_value % PRIME == 0 or scrambler == 0:
            raise ValueError("SRP: the server's value is zero")
        identity = hashlib.sha256(f"{self._pool_name}{user_id}:{self._password}".encode()).digest()
        private = hashed(padded(salt), identity)
        base = server_value - MULTIPLIER * pow(GENERATOR, private, PRIME)
        shared = pow(base, self._secret + scrambler * private, PRIME)
        extracted = hmac.digest(padded(scrambler), padded(shared), hashlib.sha256)
        return hmac.digest(extracted, b"Caldera Derived Key\x01", hashlib.sha256)[:16]


def cognito_time(moment: datetime) -> str:
    """Format a moment as Cognito signs it: `Wed Nov 4 09:05:07 UTC 2026`, English in every locale."""
    moment = moment.astimezone(UTC)
    return (
        f"{_WEEKDAYS[moment.weekday()]} {_MONTHS[moment.month - 1]} {moment.day} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} UTC {moment.year}"
    )
