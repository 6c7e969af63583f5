import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tokenstream import credentials
from tokenstream.credentials import Keys
from tokenstream.settings import SettingsError

LAMBDA = {"AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A machine without any credentials."""
    for name in (*LAMBDA, "AWS_PROFILE", "AWS_CREDENTIAL_EXPIRATION", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    credentials._by_the_chain.cache_clear()
    yield monkeypatch
    credentials._by_the_chain.cache_clear()


def test_a_functions_own_keys_sign_with_their_token() -> None:
    assert credentials.find(LAMBDA).get_frozen_credentials() == Keys("ASIAEXAMPLE", "secret", "token")


def test_a_users_own_key_has_no_token() -> None:
    found = credentials.find({name: value for name, value in LAMBDA.items() if name != "AWS_SESSION_TOKEN"})
    assert found.get_frozen_credentials().token is None


def test_a_profile_is_found_where_the_environment_has_no_keys(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = AKIA\naws_secret_access_key = its\n")
    found = credentials.find({}).get_frozen_credentials()
    assert (found.access_key, found.secret_key, found.token) == ("AKIA", "its", None)


def test_keys_that_expire_are_left_to_the_sdk_which_refreshes_them(machine: pytest.MonkeyPatch) -> None:
    # So near that they are asked for anew each time.
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    for name, value in {**LAMBDA, "AWS_CREDENTIAL_EXPIRATION": soon}.items():
        machine.setenv(name, value)
    found = credentials.find(os.environ)
    assert found.get_frozen_credentials().access_key == "ASIAEXAMPLE"
    machine.setenv("AWS_ACCESS_KEY_ID", "ASIANEXT")
    assert found.get_frozen_credentials().access_key == "ASIANEXT"


def test_without_any_credentials_the_cold_start_says_so() -> None:
    with pytest.raises(SettingsError, match="no AWS credentials"):
        credentials.find({})
