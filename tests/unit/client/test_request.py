import uuid

import pytest

from tokenstream_client.request import Request


def test_only_what_was_given_is_sent() -> None:
    body = Request(prompt="Hi", session_id="s").body()
    assert body == {"prompt": "Hi", "sessionId": "s"}


def test_every_option_has_its_name_on_the_wire() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    body = Request(
        messages=messages,
        system="Be brief.",
        model="m",
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop_sequences=("END",),
        delivery="queued",
        session_id="s",
    ).body()
    assert body == {
        "messages": messages,
        "system": "Be brief.",
        "model": "m",
        "options": {"maxTokens": 5, "temperature": 0.0, "topP": 0.5, "stopSequences": ["END"]},
        "sessionId": "s",
        "delivery": "queued",
    }


def test_every_request_has_a_session_id_of_its_own() -> None:
    first, second = Request(prompt="Hi").session_id, Request(prompt="Hi").session_id
    assert uuid.UUID(first) != uuid.UUID(second)


@pytest.mark.parametrize("fields", [{}, {"prompt": "Hi", "messages": []}])
def test_a_request_is_either_a_prompt_or_messages(fields: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Request(**fields)  # type: ignore[arg-type]  # that is the point
