"""Refused: why a request is not accepted, as the client and as the metrics hear it."""

from aiocoap import Code

from producers.coap.answer import Answer, answer
from producers.metrics import Outcome


class Refused(Exception):
    """The request ends here. The answer has a code and no body, as ThingsBoard's has."""

    def __init__(
        self,
        code: Code,
        outcome: Outcome,
        *,
        max_age: int | None = None,
        size1: int | None = None,
    ) -> None:
        super().__init__(code.dotted)
        self.code = code
        self.outcome = outcome
        self.max_age = max_age
        """Seconds after which the client should try again."""
        self.size1 = size1
        """The largest body that would have been taken."""

    def answer(self) -> Answer:
        """The response that says so."""
        return answer(self.code, max_age=self.max_age, size1=self.size1)
