import pytest
from prometheus_client import REGISTRY

from processors.enrich import LABEL_SETS, known_of
from schemas.device import Device


def test_place_and_labels_are_what_the_registry_says():
    """The labels are a JSON object, in the order of their names, so that equal ones are equal text."""
    device = Device(tenant="acme", device="boiler-7", place="Zürich", labels={"b": "2", "a": "é"})

    assert ("Zürich", '{"a":"é","b":"2"}') == known_of(device)


@pytest.mark.parametrize("device", [None, Device(tenant="acme", device="boiler-7")])
def test_nothing_is_known_of_a_stranger(device):
    """A device that nobody registered, and one of which nothing was said, have no place and an empty object."""
    assert ("", "{}") == known_of(device)


def test_label_sets_are_bounded():
    """However many sets of labels there are, only so many are kept, and how many is shown."""
    for number in range(LABEL_SETS + 10):
        known_of(Device(tenant="acme", device="boiler-7", labels={"n": str(number)}))

    assert LABEL_SETS == REGISTRY.get_sample_value("headrace_process_cached_label_sets")
