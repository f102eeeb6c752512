"""Why the local stack does not start, or has ended."""


class StackError(RuntimeError):
    """The stack cannot go on; the message says what to do, and is all that an operator needs to see."""
