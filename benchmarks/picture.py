"""The picture for the README, from a result: tokens' lag as an answer goes on, and what they cost. Pure."""

from collections.abc import Iterator, Sequence
from html import escape
from math import log10

from benchmarks.result import Result, Row

LAG_AT = "lag of token"
"""Figures of this name, with the token's number behind it, make a line."""

CONDITIONS = "300/s, round trip 20 ms"
_WIDTH, _HEIGHT = 960, 410
_LEFT, _TOP, _BOTTOM = 70, 70, 330
_LINES_RIGHT, _BARS_LEFT, _BARS_RIGHT = 500, 640, 880
_LOWEST_MS, _HIGHEST_MS = 1.0, 100_000.0
_COLOURS = {"naive": "#b45309", "tokenstream": "#0f766e"}
_SINKS = ("websocket", "appsync", "sns")


def draw(result: Result) -> str:
    """Draw it as SVG; raises `ValueError` where the result lacks what is drawn."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#1f2937">',
        f"<title>Lag behind the model and CPU, tokenstream and a call a token</title>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_legend(),
        *_lines(result),
        *_bars(result),
        _text(
            _WIDTH / 2,
            _HEIGHT - 14,
            f"{result.date[:10]}, {result.machine}, commit {result.commit}. Model at 300 tokens/s, sinks 20 ms away, "
            "over TLS; medians.",
            "middle",
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend() -> Iterator[str]:
    for x, way, label in (
        (_LEFT, "naive", "a call of an SDK's for each token"),
        (_LEFT + 260, "tokenstream", "tokenstream"),
    ):
        yield f'<rect x="{x}" y="{_HEIGHT - 46}" width="12" height="12" fill="{_COLOURS[way]}"/>'
        yield _text(x + 18, _HEIGHT - 36, label)


def _lines(result: Result) -> Iterator[str]:
    yield _text(_LEFT, 30, "Lag of a token behind the model", size=15)
    yield _text(_LEFT, 48, "as the answer goes on; milliseconds, logarithmic")
    for power in range(6):
        y = _y(10.0**power)
        yield f'<line x1="{_LEFT}" x2="{_LINES_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>'
        yield _text(_LEFT - 8, y + 4, f"{10**power:,}", "end")
    ends: list[tuple[float, str, str]] = []
    for way in ("naive", "tokenstream"):
        for sink in _SINKS:
            points = _points(result, way, sink)
            last = max(points)
            path = " ".join(f"{_x(number, last):.1f},{_y(lag):.1f}" for number, lag in sorted(points.items()))
            yield f'<polyline points="{path}" fill="none" stroke="{_COLOURS[way]}" stroke-width="2"/>'
            ends.append((_y(points[last]) + 4, sink, way))
    taken: list[float] = []
    # From the lowest line up, so that labels that make room for each other keep the lines' order.
    for y, sink, way in sorted(ends, reverse=True):
        yield _text(_LINES_RIGHT + 6, _apart(y, taken), sink, colour=_COLOURS[way], size=11)
    yield _text(_LEFT, _BOTTOM + 18, "first token")
    yield _text(_LINES_RIGHT, _BOTTOM + 18, "last of 500", "end")


def _bars(result: Result) -> Iterator[str]:
    yield _text(_BARS_LEFT, 30, "CPU for 1,000 tokens", size=15)
    yield _text(_BARS_LEFT, 48, "seconds, logarithmic")
    for index, sink in enumerate(_SINKS):
        top = _TOP + index * 84
        yield _text(_BARS_LEFT, top + 14, sink)
        for offset, (way, prefix) in enumerate((("naive", "naive: "), ("tokenstream", ""))):
            seconds = _row(result, f"{prefix}CPU for 1,000 tokens", f"{sink}, {CONDITIONS}").figure
            y = top + 20 + offset * 24
            # From 0.01 to 100 seconds.
            width = max(2.0, (log10(max(seconds, 0.01)) + 2) / 4 * (_BARS_RIGHT - _BARS_LEFT))
            yield f'<rect x="{_BARS_LEFT}" y="{y}" width="{width:.1f}" height="20" fill="{_COLOURS[way]}"/>'
            yield _text(_BARS_LEFT + width + 6, y + 15, f"{seconds:.2f} s", colour=_COLOURS[way])


def _points(result: Result, way: str, sink: str) -> dict[int, float]:
    prefix = "naive: " if way == "naive" else ""
    found = {
        int(row.what.rpartition(" ")[2]): max(row.figure, _LOWEST_MS)
        for row in result.rows
        if row.what.startswith(prefix + LAG_AT) and row.case == f"{sink}, {CONDITIONS}"
    }
    if not found:
        raise ValueError(f"the result has no {prefix}{LAG_AT} for {sink}")
    return found


def _row(result: Result, what: str, case: str) -> Row:
    for row in result.rows:
        if (row.what, row.case) == (what, case):
            return row
    raise ValueError(f"the result has no {what}, {case}")


def _x(number: int, last: int) -> float:
    return _LEFT + (number - 1) / (last - 1) * (_LINES_RIGHT - _LEFT)


def _y(milliseconds: float) -> float:
    share = log10(milliseconds / _LOWEST_MS) / log10(_HIGHEST_MS / _LOWEST_MS)
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _apart(y: float, taken: list[float]) -> float:
    """Move a label up until it covers none of those that are there, and note it."""
    while any(abs(y - other) < 12 for other in taken):  # noqa: PLR2004 - a line of text
        y -= 3
    taken.append(y)
    return y


def _text(x: float, y: float, text: str, anchor: str = "start", *, size: int = 12, colour: str = "#1f2937") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )


def tokens_drawn(tokens: int) -> Sequence[int]:
    """Return the numbers, from 1, of the tokens whose lag is drawn."""
    return [1, *range(tokens // 20, tokens + 1, tokens // 20)]
