"""A Microsoft Graph item: which sensor types there are, and which property holds the value of each."""

from collections.abc import Mapping
from types import MappingProxyType

SENSOR_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "occupancy": "boolValue",
        "peopleCount": "intValue",
        "inferredOccupancy": "boolValue",
        "heartbeat": "boolValue",
        "badge": "eventValue",
        "wifi": "",
    },
)
"""Each sensorType, and the property that it needs; Microsoft documents none for wifi."""
