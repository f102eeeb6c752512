"""Raw messages to readings: one pure function a dialect, and the table that finds it."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from processors.normalise import digital_twins, graph, thingsboard
from processors.normalise.unusable import Unusable
from schemas.dead_letter import Reason
from schemas.raw_message import RawMessage
from schemas.reading import Reading

Normaliser = Callable[[RawMessage], Iterable[Reading]]

NORMALISERS: Mapping[str, Normaliser] = MappingProxyType(
    {
        "graph": graph.readings,
        "digital_twins": digital_twins.readings,
        "thingsboard": thingsboard.readings,
    },
)


def normalise(raw: RawMessage) -> list[Reading]:
    """The readings in a message.

    Raises:
        Unusable: the message is not of its dialect's shape; the same message would fail again.

    """
    normaliser = NORMALISERS.get(raw.dialect)
    if normaliser is None:
        raise Unusable(Reason.MALFORMED, f"no such dialect: {raw.dialect}")
    return list(normaliser(raw))
