"""Unusable: why a message cannot become readings."""

from schemas.dead_letter import Reason


class Unusable(Exception):
    """The message will never become readings; it is a dead letter."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
