"""What goes wrong in the local stack in a way that its user can do something about."""


class StackError(Exception):
    """Ends the stack with this message; `details` is a tool's own output, already readable."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details
