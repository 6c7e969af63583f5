import json
from pathlib import Path

import pytest

from tokenstream_client.endpoints import PATHS, Endpoints
from tokenstream_client.errors import EndpointsError

VALUES = {
    "functionUrl": "http://127.0.0.1:8080/function/",
    "restUrl": "https://abc.execute-api.eu-west-1.amazonaws.com/prod",
    "websocketUrl": "wss://def.execute-api.eu-west-1.amazonaws.com/prod/",
    "graphqlUrl": "https://ghi.appsync-api.eu-west-1.amazonaws.com/graphql",
    "graphqlRealtimeUrl": "wss://ghi.appsync-realtime-api.eu-west-1.amazonaws.com/graphql",
    "region": "eu-west-1",
    "userPoolId": "eu-west-1_Pool",
    "userPoolClientId": "client",
    "webUrl": "not read here",
}


def test_the_file_of_a_folder_above_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "endpoints.json").write_text(json.dumps(VALUES))
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    endpoints = Endpoints.load()
    assert endpoints.url("url") == "http://127.0.0.1:8080/function"
    assert endpoints.url("rest") == VALUES["restUrl"]
    assert endpoints.url("websocket") == "wss://def.execute-api.eu-west-1.amazonaws.com/prod"
    assert endpoints.url("appsync") == VALUES["graphqlUrl"]
    assert endpoints.realtime_url == VALUES["graphqlRealtimeUrl"]


def test_a_file_from_before_a_path_serves_the_others_and_names_the_key_that_it_lacks() -> None:
    later = {"websocketUrl", "graphqlUrl", "graphqlRealtimeUrl"}
    old = Endpoints.from_mapping({key: value for key, value in VALUES.items() if key not in later})
    assert old.url("rest") == VALUES["restUrl"]
    assert [path for path in PATHS if old.has(path)] == ["url", "rest"]
    assert all(map(Endpoints.from_mapping(VALUES).has, PATHS))
    with pytest.raises(EndpointsError, match="websocketUrl"):
        old.url("websocket")
    with pytest.raises(EndpointsError, match="graphqlUrl"):
        old.url("appsync")
    with pytest.raises(EndpointsError, match="graphqlRealtimeUrl"):
        _ = old.realtime_url


def test_without_a_file_the_user_is_told_how_to_start_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EndpointsError, match="make run"):
        Endpoints.load()


def test_a_deployed_stack_signs_in_at_aws_and_a_local_one_at_the_stack() -> None:
    assert Endpoints.from_mapping(VALUES).cognito_url == "https://cognito-idp.eu-west-1.amazonaws.com"
    local = Endpoints.from_mapping({**VALUES, "awsEndpointUrl": "http://127.0.0.1:4566"})
    assert local.cognito_url == "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "isn't JSON"),
        ("[]", "isn't a JSON object"),
        (json.dumps({**VALUES, "restUrl": ""}), "restUrl"),
        (json.dumps({**VALUES, "functionUrl": "ftp://x"}), "functionUrl"),
        (json.dumps({**VALUES, "websocketUrl": "https://x"}), "websocketUrl"),
        (json.dumps({**VALUES, "graphqlUrl": "wss://x"}), "graphqlUrl"),
        (json.dumps({**VALUES, "graphqlRealtimeUrl": "https://x"}), "graphqlRealtimeUrl"),
        (json.dumps({key: value for key, value in VALUES.items() if key != "userPoolId"}), "userPoolId"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_wrong_with_it(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "endpoints.json"
    file.write_text(content)
    with pytest.raises(EndpointsError, match=told) as raised:
        Endpoints.load(file)
    assert str(file) in raised.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EndpointsError, match=r"none\.json"):
        Endpoints.load(tmp_path / "none.json")


def test_the_password_does_not_show_when_endpoints_are_printed() -> None:
    assert "hunter2" not in repr(Endpoints.from_mapping({**VALUES, "password": "hunter2"}))
