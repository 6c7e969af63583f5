"""The other side of Cognito's SRP, written from RFC 5054 and apart from the client's arithmetic."""

import base64
import hashlib
import hmac
import secrets

from tokenstream_client.srp import GENERATOR, PRIME


def _bytes(number: int) -> bytes:
    digits = f"{number:x}"
    digits = "0" * (len(digits) % 2) + digits
    return bytes.fromhex("00" + digits if digits[0] in "89abcdef" else digits)


def _sha256(data: bytes) -> int:
    return int(hashlib.sha256(data).hexdigest(), 16)


class SrpServer:
    """Holds the verifier of one user and checks one proof; `salt` and `secret` are random unless given."""

    def __init__(
        self, pool_id: str, user_id: str, password: str, *, salt: int | None = None, secret: int | None = None
    ):
        self._name = (pool_id.split("_")[1] + user_id).encode()
        self._user_id = user_id
        self._salt = secrets.randbits(128) if salt is None else salt
        inner = hashlib.sha256(self._name + b":" + password.encode()).digest()
        self._verifier = pow(GENERATOR, _sha256(_bytes(self._salt) + inner), PRIME)
        self._secret = secrets.randbelow(PRIME) if secret is None else secret
        multiplier = _sha256(_bytes(PRIME) + _bytes(GENERATOR))
        self._public = (multiplier * self._verifier + pow(GENERATOR, self._secret, PRIME)) % PRIME
        self._block = base64.b64encode(secrets.token_bytes(32)).decode()

    def challenge(self) -> dict[str, str]:
        return {
            "SALT": f"{self._salt:x}",
            "SRP_B": f"{self._public:x}",
            "SECRET_BLOCK": self._block,
            "USERNAME": self._user_id,
            "USER_ID_FOR_SRP": self._user_id,
        }

    def accepts(self, srp_a: str, response: dict[str, str]) -> bool:
        public = int(srp_a, 16)
        scrambler = _sha256(_bytes(public) + _bytes(self._public))
        shared = pow(public * pow(self._verifier, scrambler, PRIME), self._secret, PRIME)
        extracted = hmac.new(_bytes(scrambler), _bytes(shared), hashlib.sha256).digest()
        key = hmac.new(extracted, b"Caldera Derived Key\x01", hashlib.sha256).digest()[:16]
        claim = self._name + base64.b64decode(self._block) + response["TIMESTAMP"].encode()
        expected = base64.b64encode(hmac.new(key, claim, hashlib.sha256).digest()).decode()
        return (
            hmac.compare_digest(expected, response["PASSWORD_CLAIM_SIGNATURE"])
            and response["PASSWORD_CLAIM_SECRET_BLOCK"] == self._block
            and response["USERNAME"] == self._user_id
        )
