import pytest
from pydantic import ValidationError

from headrace.stack.settings import StackSettings


def test_a_port_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    """Each port is set by the variable that a taken port names."""
    monkeypatch.setenv(StackSettings.variable("clickhouse_port"), "18123")

    assert StackSettings().clickhouse_port == 18123


def test_two_services_on_one_port_are_refused():
    """A port that two services are to have is an error that names both."""
    with pytest.raises(ValidationError, match="kafka_port and http_port are both 9092"):
        StackSettings(http_port=9092)
