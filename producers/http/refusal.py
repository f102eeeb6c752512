"""Refusal: why a request is answered with an error."""

from collections.abc import Mapping

from producers.metrics import Outcome

_OUTCOMES = {
    401: Outcome.UNAUTHORISED,
    403: Outcome.UNAUTHORISED,
    404: Outcome.UNKNOWN,
    413: Outcome.TOO_LARGE,
    429: Outcome.LIMITED,
    500: Outcome.FAILED,
    503: Outcome.UNAVAILABLE,
}


class Refusal(Exception):
    """Nothing of the request counts as accepted.

    Args:
        status: the HTTP status that the client sees.
        message: for the person who reads the client's log.
        code: the dialect's own name for it; without one, the dialect goes by the status.
        headers: what the answer carries beside the dialect's own.

    """

    def __init__(
        self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}

    @property
    def outcome(self) -> Outcome:
        """How the refusal is counted."""
        return _OUTCOMES.get(self.status, Outcome.MALFORMED)
