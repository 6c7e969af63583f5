"""An API's address on AWS, and where the emulator serves it without DNS."""

from urllib.parse import urlsplit


def api_and_stage(url: str) -> tuple[str, str]:
    """Give id and stage of the API that has this address on AWS."""
    parts = urlsplit(url)
    return (parts.hostname or "").partition(".")[0], parts.path.strip("/")


def emulated_address(endpoint: str, url: str) -> str:
    """Give the emulator's HTTP address of the API that has this one on AWS."""
    api_id, stage = api_and_stage(url)
    return f"{endpoint}/_aws/execute-api/{api_id}/{stage}"
