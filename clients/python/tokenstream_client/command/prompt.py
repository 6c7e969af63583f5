"""The prompt that a command was given."""

import sys

from tokenstream_client.errors import ClientError


def read_prompt(prompt: str) -> str:
    """Return the prompt, which `-` has read from standard input; raises `ClientError` for an empty one."""
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise ClientError("PROMPT is empty.", code="invalid_request")
    return text
