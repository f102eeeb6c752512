import pytest

from schemas.device import Device, known_of


def test_place_and_labels_are_what_the_registry_says():
    """The labels are a JSON object, in the order of their names, so that equal ones are equal text."""
    device = Device(tenant="acme", device="boiler-7", place="Zürich", labels={"b": "2", "a": "é"})

    assert ("Zürich", '{"a":"é","b":"2"}') == known_of(device)


@pytest.mark.parametrize("device", [None, Device(tenant="acme", device="boiler-7")])
def test_nothing_is_known_of_a_stranger(device):
    """A device that nobody registered, and one of which nothing was said, have no place and an empty object."""
    assert ("", "{}") == known_of(device)
