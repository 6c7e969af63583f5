"""Time that passes when a test says so."""


class FakeClock:
    """A clock that stands still between two calls of `advance`."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
