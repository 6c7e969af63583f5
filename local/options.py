"""The options of `python -m local`."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from local.model.openai import OLLAMA
from local.model.paced import Pace
from local.model.text import DEFAULT_LENGTH


@dataclass(frozen=True, slots=True)
class Paced:
    """The stack's own model, with a real one's pace."""

    pace: Pace
    length: int


@dataclass(frozen=True, slots=True)
class OpenAiCompatible:
    """A real model behind an OpenAI-compatible API."""

    model: str
    base_url: str
    api_key_variable: str | None


@dataclass(frozen=True, slots=True)
class RealBedrock:
    """Amazon Bedrock, with the user's own credentials."""


ModelChoice: TypeAlias = Paced | OpenAiCompatible | RealBedrock
LogLevel: TypeAlias = Literal["DEBUG", "INFO", "WARN", "ERROR"]

_OLLAMA_MODEL = "llama3.2"
_API_KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Options:
    """Ports are None for a free one. `parameters` are the template's."""

    model: ModelChoice
    port: int | None
    web_port: int | None
    websocket_port: int | None
    bedrock_port: int | None
    ministack_port: int | None
    log_level: LogLevel
    parameters: Mapping[str, str]
    quiet: bool


def parse_options(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Read the command line; the environment's `MODEL` stands in for `--model`. Exits on a mistake."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Run tokenstream on this machine.")
    pace = Pace()
    parser.add_argument(
        "--model",
        default=environment.get("MODEL", "paced"),
        help="paced (default), ollama, openai:URL for any OpenAI-compatible API (a key is taken from the environment's "
        f"{_API_KEY_VARIABLE}), or bedrock with your AWS credentials; the environment's MODEL says the same",
    )
    parser.add_argument("--model-name", help=f"ollama, openai: the model there ({_OLLAMA_MODEL} for ollama)")
    parser.add_argument("--ttft", type=_seconds, default=pace.ttft, help="paced: time to first token, s (%(default)s)")
    parser.add_argument("--rate", type=_rate, default=pace.rate, help="paced: tokens a second (%(default)s)")
    parser.add_argument("--tokens", type=_count, default=DEFAULT_LENGTH, help="paced: tokens an answer (%(default)s)")
    for name, what in (
        ("--port", "the edge: /url, /rest/<stage>"),
        ("--web-port", "the web client"),
        ("--websocket-port", "the edge's WebSocket API: /<stage>"),
        ("--bedrock-port", "the model's Bedrock"),
        ("--ministack-port", "the other AWS services"),
    ):
        parser.add_argument(name, type=_port, metavar="PORT", help=f"{what} (default: a free port)")
    parser.add_argument("--log-level", choices=LogLevel.__args__, default="INFO", help="of the functions (%(default)s)")  # type: ignore[attr-defined]  # a Literal has them
    parser.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of template.yaml's, as DirectSend=false; several are possible",
    )
    parser.add_argument("--quiet", action="store_true", help="no steps, no requests, no function logs on the terminal")
    given = parser.parse_args(arguments)
    try:
        model = _model(given.model, given.model_name, environment)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        model=model or Paced(Pace(ttft=given.ttft, rate=given.rate), given.tokens),
        port=given.port,
        web_port=given.web_port,
        websocket_port=given.websocket_port,
        bedrock_port=given.bedrock_port,
        ministack_port=given.ministack_port,
        log_level=given.log_level,
        parameters=dict(given.parameter),
        quiet=given.quiet,
    )


def _model(choice: str, name: str | None, environment: Mapping[str, str]) -> ModelChoice | None:
    match choice.partition(":"):
        case ("paced", "", _):
            return None
        case ("bedrock", "", _):
            return RealBedrock()
        case ("ollama", "", _):
            return OpenAiCompatible(name or _OLLAMA_MODEL, OLLAMA, None)
        case ("openai", ":", url) if url.startswith(("http://", "https://")):
            if not name:
                raise ValueError("--model openai:URL needs --model-name")
            return OpenAiCompatible(name, url, _API_KEY_VARIABLE if environment.get(_API_KEY_VARIABLE) else None)
    raise ValueError(f"--model: {choice!r} is none of paced, ollama, openai:URL, bedrock")


def _parameter(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name.isalnum() and sign):
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value


def _seconds(text: str) -> float:
    if not 0 <= (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be zero or more seconds")
    return value


def _rate(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be more than zero tokens a second")
    return value


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be one or more")
    return value


def _port(text: str) -> int:
    if not 1 <= (value := int(text)) <= 65535:  # noqa: PLR2004 the range of ports
        raise argparse.ArgumentTypeError("must be a port number")
    return value
