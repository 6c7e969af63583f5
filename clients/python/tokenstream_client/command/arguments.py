"""What the command takes."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from tokenstream_client.answer import LONGEST_RUN_SECONDS, MEMORY_MB, Answer
from tokenstream_client.client import RequestFields
from tokenstream_client.command.entries import ALL, Entry, parse_entries
from tokenstream_client.delivery import DELIVERIES, Delivery, require_delivery
from tokenstream_client.endpoints import PathName

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the type has no public name

_Number = TypeVar("_Number", int, float)

_WHO = (
    "The user is the one in the endpoints file, or --username with the password in TOKENSTREAM_PASSWORD or asked for."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Which stack, and who asks it: the options that every command takes, before its name or after it."""

    endpoints: Path | None = None
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions(StackOptions):
    """The options of `tokenstream token`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionOptions(StackOptions):
    """The options of what asks the model; a `prompt` of `-` is read from standard input."""

    prompt: str | None
    json: bool
    system: str | None
    model: str | None
    max_tokens: int | None
    temperature: float | None

    @property
    def generation(self) -> RequestFields:
        """The fields of a request that say how to answer."""
        return {
            "system": self.system,
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions(QuestionOptions):
    """The options of `tokenstream chat`; `prompt` is `None` for a conversation."""

    path: PathName
    delivery: Delivery | None
    verbose: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceOptions(QuestionOptions):
    """The options of `tokenstream race`."""

    prompt: str
    paths: tuple[Entry, ...]
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions(StackOptions):
    """The options of `tokenstream cost`, which asks no stack; `streams` are answers a month, times milliseconds."""

    tokens: int
    streams: int
    rate: float
    first_token_ms: float
    round_trip_ms: float
    flush_interval_ms: float
    memory: int
    json: bool

    @property
    def answer(self) -> Answer:
        """One of the answers."""
        return Answer(
            tokens=self.tokens,
            rate=self.rate,
            first_token=self.first_token_ms / 1000,
            round_trip=self.round_trip_ms / 1000,
            flush_interval=self.flush_interval_ms / 1000,
            memory_mb=self.memory,
        )


Options = ChatOptions | RaceOptions | TokenOptions | CostOptions


def parse_arguments(arguments: Sequence[str] | None) -> Options:
    """Read the command line; raises `SystemExit` for `--help` and wrong usage."""
    stack = _stack_parser()
    parser = argparse.ArgumentParser(
        prog="tokenstream", description="Stream the answers of a language model.", parents=[stack]
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_chat(commands, stack)
    _add_race(commands, stack)
    _add_token(commands, stack)
    _add_cost(commands)
    namespace, unknown = parser.parse_known_args(arguments)
    values = vars(namespace)
    options: type[Options] = values.pop("options")
    if unknown:
        words = issubclass(options, QuestionOptions) and not unknown[0].startswith("-")
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{' (quote the prompt)' if words else ''}")
    if options is ChatOptions:
        try:
            require_delivery(values["path"], values["delivery"])
        except ValueError as error:
            parser.error(f"argument --delivery: {error}")
    parsed = options(**values)
    if isinstance(parsed, CostOptions) and parsed.answer.duration > LONGEST_RUN_SECONDS:
        parser.error(
            f"such an answer takes {parsed.answer.duration:,.0f} s, and no function runs longer than "
            f"{LONGEST_RUN_SECONDS} s"
        )
    return parsed


def _stack_parser() -> argparse.ArgumentParser:
    # A default would, after the command's name, overwrite what was given before it.
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--endpoints", type=Path, metavar="FILE", help="default: .local/endpoints.json, here or above")
    parser.add_argument("--username", metavar="NAME", help="the user to sign in as")
    return parser


def _add_chat(commands: "_Commands", stack: argparse.ArgumentParser) -> None:
    chat = commands.add_parser(
        "chat",
        parents=[stack],
        help="stream an answer to the terminal",
        description="Stream an answer to the terminal. Without PROMPT: a conversation, one line a turn; "
        "Ctrl-C stops an answer, Ctrl-D or /quit leaves.",
        epilog=_WHO,
    )
    chat.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to ask; - reads standard input")
    chat.add_argument("--path", choices=get_args(PathName), default="url", help="the way to the stack (default: url)")
    chat.add_argument(
        "--delivery",
        choices=DELIVERIES,
        help="how the frames come, on websocket and appsync (default: the stack's way)",
    )
    chat.add_argument("--json", action="store_true", help="print the frames, one a line, with receivedAtMs")
    chat.add_argument(
        "--verbose", action="store_true", help="print figures and interruptions also when stderr is no terminal"
    )
    _add_generation(chat)
    chat.set_defaults(options=ChatOptions)


def _add_race(commands: "_Commands", stack: argparse.ArgumentParser) -> None:
    race = commands.add_parser(
        "race",
        parents=[stack],
        help="ask over all paths at the same time, and compare",
        description="Ask over all paths at the same time, each over a connection of its own that is open before the "
        "clock starts, and compare how the answers come. Ctrl-C stops all answers.",
        epilog=_WHO,
    )
    race.add_argument("prompt", metavar="PROMPT", help="what to ask; - reads standard input")
    race.add_argument(
        "--paths",
        type=parse_entries,
        default=ALL,
        metavar="PATH[:DELIVERY],…",
        help=f"who takes part (default: {','.join(map(str, ALL))})",
    )
    race.add_argument("--rounds", type=_rounds, default=1, metavar="N", help="race so often and compare medians")
    race.add_argument("--json", action="store_true", help="print one JSON document, figures in milliseconds")
    _add_generation(race)
    race.set_defaults(options=RaceOptions)


def _rounds(text: str) -> int:
    rounds = int(text) if text.isdecimal() else 0
    if rounds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds")
    return rounds


def _add_generation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument("--model", metavar="ID", help="a model that the stack allows (default: its first)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="the most tokens to generate")
    parser.add_argument("--temperature", type=float, metavar="X", help="the sampling temperature")


def _add_token(commands: "_Commands", stack: argparse.ArgumentParser) -> None:
    token = commands.add_parser(
        "token",
        parents=[stack],
        help="print an ID token, for curl and the like",
        description="Sign in and print the user's ID token: TOKEN=$(tokenstream token)",
        epilog=_WHO,
    )
    token.set_defaults(options=TokenOptions)


def _add_cost(commands: "_Commands") -> None:
    cost = commands.add_parser(
        "cost",
        help="estimate what answers cost on each path, beside the model",
        description="Estimate what answers cost on each path, beside the model, from AWS's list prices. Nothing is "
        "asked, and no stack is needed.",
    )
    cost.add_argument("--tokens", type=_number(int, 1, 1_000_000), required=True, metavar="N", help="tokens an answer")
    cost.add_argument(
        "--streams", type=_number(int, 1, 10**12), required=True, metavar="N", help="answers a month, each a stream"
    )
    cost.add_argument(
        "--rate", type=_number(float, 0.1, 10_000), required=True, metavar="R", help="the model's tokens a second"
    )
    cost.add_argument(
        "--first-token-ms",
        type=_number(float, 0, 120_000),
        default=600,
        metavar="MS",
        help="how long the model takes to its first token (default: 600)",
    )
    cost.add_argument(
        "--round-trip-ms",
        type=_number(float, 0, 10_000),
        default=20,
        metavar="MS",
        help="how long a request to the service takes that the frames go to (default: 20)",
    )
    cost.add_argument(
        "--flush-interval-ms",
        type=_number(float, 0, 5_000),
        default=0,
        metavar="MS",
        help="the functions' FLUSH_INTERVAL_MS, the least time between two sends of a stream (default: 0)",
    )
    cost.add_argument(
        "--memory",
        type=_number(int, 128, 10_240),
        default=MEMORY_MB,
        metavar="MB",
        help=f"memory of the functions that stream (default: {MEMORY_MB}, the template's)",
    )
    cost.add_argument("--json", action="store_true", help="print one JSON document, with each way's parts")
    cost.set_defaults(options=CostOptions)


def _number(kind: type[_Number], least: _Number, most: _Number) -> Callable[[str], _Number]:
    def parse(text: str) -> _Number:
        with suppress(ValueError):
            # What is no number at all, NaN, isn't in the range either.
            if least <= (number := kind(text)) <= most:
                return number
        what = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} from {least:,} to {most:,}")

    return parse
