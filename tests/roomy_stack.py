"""Keeps the speed of a test from depending on how deep pytest has called it.

CPython keeps the frames of its calls in chunks of 16 KB. A call that comes to stand at the edge of one maps the next
chunk into memory and unmaps it on its return, each time: 20 µs instead of 0.05 in whatever loop it is that stands
there. Where that is, a single frame more or less decides: pytest-xdist has some, and a test took 70 s in place of 6.
"""

from collections.abc import Callable

_WORDS = 2**16 - 500
"""Chunks come in powers of two: this frame makes one of 1 MB, of which the frames above it have half."""


def in_roomy_stack(run: Callable[[], None]) -> Callable[[], None]:
    """Have the function called from a frame behind which there is room for all others."""

    def call() -> None:
        run()

    call.__code__ = call.__code__.replace(co_stacksize=_WORDS)
    return call
