"""Where endpoints answer: hosts that nobody takes from others, and that are no session's."""

from typing import Any
from uuid import UUID

import pytest

from mosu.compute.app_hosts import (
    AppHost,
    EndpointHost,
    app_at,
    endpoint_at,
    is_endpoint_name,
    label_of,
)
from mosu.kernel.ids import uuid7

HOUSE = UUID("0192d8a4-7e2f-7b11-9f3e-5c1d2a6b7c8d")


@pytest.fixture(autouse=True)
def apps_host(settings: Any) -> None:
    settings.MOSU_APPS_HOST = "apps.hub.example"
    settings.MOSU_RELAY_URL = "https://hub.example:8443"


def test_a_label_names_the_endpoint_and_the_house_and_comes_back() -> None:
    label = label_of("chat", HOUSE)
    host = EndpointHost(label)
    assert label.startswith("chat-") and len(label) == len("chat-") + 10
    assert host.origin == f"https://{label}.apps.hub.example:8443"
    for header in (host.name, host.netloc, host.name.upper()):
        assert endpoint_at(header) == host
        assert app_at(header) is None


def test_two_organisations_have_two_hosts_for_one_name() -> None:
    labels = {label_of("chat", uuid7()) for _ in range(100)}
    assert len(labels) == 100


def test_no_name_of_one_organisation_makes_the_label_of_another() -> None:
    """Ten letters without a hyphen end each label: `a` of house `b-c` and `a-b` of house `c` would else be one."""
    ours, theirs = uuid7(), uuid7()
    house = label_of("x", theirs).removeprefix("x-")
    assert label_of(f"chat-{house}", ours) != label_of("chat", theirs)
    assert "-" not in house


@pytest.mark.parametrize(
    "host",
    [
        AppHost(HOUSE, 8000).label,
        "chat",
        "chat-short",
        "8chat-0123456789",
        "chat--0123456789",
        "-chat-0123456789",
        "ch_at-0123456789",
        "a.chat-0123456789",
    ],
)
def test_other_labels_are_no_endpoints(host: str) -> None:
    assert endpoint_at(f"{host}.apps.hub.example") is None


def test_elsewhere_there_are_no_endpoints(settings: Any) -> None:
    label = label_of("chat", HOUSE)
    assert endpoint_at(f"{label}.hub.example") is None
    settings.MOSU_APPS_HOST = ""
    assert endpoint_at(f"{label}.") is None and endpoint_at(label) is None


@pytest.mark.parametrize("name", ["chat", "qwen2-7b", "a", "a" * 40])
def test_names_that_can_stand_in_a_host(name: str) -> None:
    assert is_endpoint_name(name)


@pytest.mark.parametrize(
    "name", ["", "8b", "-a", "a-", "a--b", "xn--a", "A", "a.b", "a_b", "a" * 41, "ä", "a\n"]
)
def test_names_that_cannot(name: str) -> None:
    assert not is_endpoint_name(name)
