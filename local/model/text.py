"""What the paced model says: a pure function of the conversation, so that a test can know it to the character.

`compose` is that function. The opening names the turn and repeats the prompt; prose follows whose words are chosen by a
hash of all turns and the system prompt, marks left out. So the pace of an answer never changes its text, and a turn or
a system prompt that got lost on the way does. Each further token, be it of text or of reasoning, is one delta.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice

from local.model.interface import ModelRequest
from local.model.marks import Marks, parse_marks

DEFAULT_LENGTH = 120
"""Tokens in an answer when nothing is said."""

_TOKEN = re.compile(r" ?\w{1,11}| ?[^\w\s]{1,3}|\s{1,12}")

_OPENERS = ("Meanwhile", "In short", "By contrast", "On the whole", "So", "Still", "Of course", "Curiously")
_SUBJECTS = (
    "the river",
    "a naïve reader",
    "the café in Zürich",
    "an astronaut 👩‍🚀",
    "every token",
    "the archive",
    "東京の朝",
    "an old friend",
    "the so-called “expert”",
    "Señora Núñez",
    "the night train",
    "a backslash \\",
    "the lighthouse",
    "<b>markup</b> & its author",
    "its maker's daughter",
    "бабушка",
)
_VERBS = (
    "remembers",
    "rebuilds",
    "quietly translates",
    "outlives",
    "refuses to simplify",
    "measures",
    "wanders through",
    "answers for",
)
_OBJECTS = (
    "the shape of the question",
    "a long and winding interconnection of streets",
    'what is called "progress"',
    "the price of bread",
    "two or three small truths",
    "the weather over Åland 🌧️",
    "every incomprehensibility",
    "the first snow",
    "an unfinished map",
    "מכתב ישן",
    "a column of figures: 3.14, 42",
    "the sound of rain",
    "its own reflection",
    "somebody else's memory",
    "all that was left out",
    "the far side of the hill 🙂",
)
_ENDINGS = (". ", ". ", ". ", "! ", "? ", ".\n", ".\n\n", "…\n\n- ")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its tokens, why it ends, and what its request counts for."""

    reasoning: tuple[str, ...]
    text: tuple[str, ...]
    stop_reason: str
    stop_sequence: str | None
    input_tokens: int

    @property
    def output_tokens(self) -> int:
        """Tokens generated, reasoning included."""
        return len(self.reasoning) + len(self.text)


def expected_text(request: ModelRequest, length: int = DEFAULT_LENGTH) -> str:
    """Return the text of the paced model's answer, were it not for a fault. `length` is the model's default in tokens.

    Raises `MarkError`.
    """
    _, marks = parse_marks(request.prompt)
    return "".join(compose(request, marks, length).text)


def compose(request: ModelRequest, marks: Marks, length: int = DEFAULT_LENGTH) -> Answer:
    """Compose the answer to a request whose last message carries these marks.

    Reasoning counts towards `max_tokens`. A stop sequence ends the text in front of itself.
    """
    plain: list[tuple[str, str]] = [
        (turn.role, parse_marks(turn.text)[0] if turn.role == "user" else turn.text) for turn in request.turns
    ]
    seed = hashlib.sha256(json.dumps([request.system, plain]).encode()).digest()
    limit = request.max_tokens

    reasoning = tuple(islice(_reasoning(seed), marks.reasoning or 0))[:limit]
    if marks.say is not None:
        spoken = tuple(_tokens([marks.say]))
    else:
        spoken = _spoken(plain, seed, length if marks.tokens is None else marks.tokens)
    text = spoken if limit is None else spoken[: limit - len(reasoning)]

    cut = len(text) < len(spoken) or len(reasoning) < (marks.reasoning or 0)
    stop_reason, stop_sequence = "max_tokens" if cut else "end_turn", None
    if stop := _first_stop("".join(text), request.stop_sequences):
        stop_reason, stop_sequence = "stop_sequence", stop[1]
        text = _clipped(text, stop[0])
    return Answer(reasoning, text, stop_reason, stop_sequence, _input_tokens(request))


def _spoken(plain: list[tuple[str, str]], seed: bytes, length: int) -> tuple[str, ...]:
    prompt = next(text for role, text in reversed(plain) if role == "user")
    opening = f"Turn {len(plain)}. You said: “{prompt}”.\n\n"
    tokens = tuple(islice(_tokens(chain([opening], _prose(seed + b"text"))), length))
    return (*tokens[:-1], ".") if tokens else ()


def _reasoning(seed: bytes) -> Iterator[str]:
    return _tokens(chain(["Let me think. "], _prose(seed + b"reasoning")))


def _prose(seed: bytes) -> Iterator[str]:
    """Sentences without end."""
    for block in count():
        choices = hashlib.sha256(seed + block.to_bytes(8, "big")).digest()
        for opener, subject, verb, object_, ending in zip(*[iter(choices)] * 5, strict=False):
            words = (_pick(_SUBJECTS, subject), _pick(_VERBS, verb), _pick(_OBJECTS, object_))
            yield f"{_pick(_OPENERS, opener)}, {' '.join(words)}{_pick(_ENDINGS, ending)}"


def _pick(words: tuple[str, ...], choice: int) -> str:
    return words[choice % len(words)]


def _tokens(texts: Iterable[str]) -> Iterator[str]:
    """Pieces of 1 to 12 characters, most with the space before their word; joined, they are the texts again."""
    return (match[0] for text in texts for match in _TOKEN.finditer(text))


def _first_stop(text: str, sequences: tuple[str, ...]) -> tuple[int, str] | None:
    """Where generation stops and for which sequence: the one that is complete first."""
    found = [(text.index(sequence), sequence) for sequence in sequences if sequence in text]
    return min(found, key=lambda stop: (stop[0] + len(stop[1]), stop[0]), default=None)


def _clipped(tokens: tuple[str, ...], length: int) -> tuple[str, ...]:
    """Return the tokens of the first `length` characters."""
    clipped: list[str] = []
    for token in tokens:
        if length <= 0:
            break
        clipped.append(token[:length])
        length -= len(token)
    return tuple(clipped)


def _input_tokens(request: ModelRequest) -> int:
    """About four characters a token, as a rule of thumb has it."""
    characters = len(request.system or "") + sum(len(turn.text) for turn in request.turns)
    return 1 + characters // 4
