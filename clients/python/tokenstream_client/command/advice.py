"""Errors in words for the terminal: what happened and, where it helps, what to do."""

from collections.abc import Mapping

from tokenstream_client.errors import ClientError

_ADVICE: Mapping[str, str] = {
    "connection_failed": "Is the local stack running? `make run` starts it; for a deployed one check --endpoints.",
    "protocol_error": "Check that --endpoints names a tokenstream stack.",
    "wrong_credentials": "Check --username and TOKENSTREAM_PASSWORD, or the user in the endpoints file.",
    "unauthorized": "Check that the endpoints and the user belong to the same stack.",
    "too_large": "Shorten the prompt, or begin a new conversation.",
}

_OPTION_OF_FIELD: Mapping[str, str] = {
    "options.maxTokens": "--max-tokens",
    "options.temperature": "--temperature",
    "model": "--model",
    "delivery": "--delivery",
    "system": "--system",
    "prompt": "PROMPT",
    "messages": "PROMPT",
}


def explain(error: ClientError) -> str:
    """Return a line for stderr."""
    return " ".join(filter(None, ("tokenstream:", _option(error), error.message, _advice(error))))


def _option(error: ClientError) -> str | None:
    option = _OPTION_OF_FIELD.get(error.field or "")
    return f"{option}:" if option else None


def _advice(error: ClientError) -> str | None:
    if error.code in _ADVICE:
        return _ADVICE[error.code]
    if error.retry_after is not None:
        return f"Try again in {error.retry_after:g} s."
    return "Try again." if error.retryable else None
