"""What Prometheus reads: our metrics alone, as they are when it asks; a port that is taken ends nothing."""

import socket
import urllib.request
from urllib.error import URLError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from platform.config.checks import ConfigError
from platform.config.tracking import TrackingConfig
from platform.monitoring.endpoint import Endpoint
from platform.monitoring.metrics import METRICS, Sample

LOOPBACK = "127.0.0.1:0"


def read(endpoint: Endpoint) -> dict[str, list[tuple[dict[str, str], float]]]:
    with urllib.request.urlopen(endpoint.url, timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {s.name: [(t.labels, t.value) for t in f.samples] for f in families for s in f.samples}


def test_each_request_is_answered_with_what_is_known_then():
    steps = [1.0]
    endpoint = Endpoint(LOOPBACK, lambda: [Sample("platform_steps", ("made", 'a"\n'), steps[0])])
    try:
        assert read(endpoint) == {"platform_steps": [({"experiment": "made", "member": 'a"\n'}, 1.0)]}
        steps[0] = 2.0
        assert read(endpoint)["platform_steps"][0][1] == 2.0
    finally:
        endpoint.close()
    with pytest.raises(URLError):
        read(endpoint)


def test_every_metric_says_what_it_is_and_in_which_unit():
    endpoint = Endpoint(LOOPBACK, list)
    try:
        with urllib.request.urlopen(endpoint.url, timeout=10) as answer:
            text = answer.read().decode()
    finally:
        endpoint.close()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for each in METRICS:
        family = families[each.name.removesuffix("_total")]
        assert family.type == ("counter" if each.is_counter else "gauge")
        assert family.documentation == f"{each.meaning} ({each.unit})"


def test_a_port_that_is_taken_is_said_and_ends_nothing(caplog: pytest.LogCaptureFixture):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        endpoint = Endpoint(address, list)
        endpoint.close()
    assert endpoint.url == ""
    assert f"tracking.prometheus_address is {address}" in caplog.text
    assert "metrics are not exported; give another port, or 0 for a free one" in caplog.text


def test_without_an_address_nothing_listens_and_nothing_is_said():
    said: list[str] = []
    endpoint = Endpoint(None, list)
    endpoint.say(said.append)
    endpoint.close()
    assert (endpoint.url, said) == ("", [])


@pytest.mark.parametrize("address", ["9464", ":9464", "host:", "host:70000", "http://host:9464", "host:9464/metrics"])
def test_an_address_is_checked_before_anything_starts(address: str):
    with pytest.raises(ConfigError, match=r"tracking\.prometheus_address is .*; give HOST:PORT, as 127"):
        TrackingConfig(prometheus_address=address)


def test_addresses_of_every_kind_are_taken():
    for address in ("127.0.0.1:0", "0.0.0.0:9464", "[::]:9464", "node-3.example.org:9464"):
        assert TrackingConfig(prometheus_address=address).prometheus_address == address
