"""Having a device to ourselves, with the real agent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from scbp_host.device.client import DeviceClient, open_device
from scbp_host.errors import CapabilityError, ScbpError, UsageError
from scbp_host.measuring.reserving import Wants, reserve
from scbp_host.profiles import load_profile


@pytest.fixture
def client() -> Iterator[DeviceClient]:
    with open_device(load_profile("local")) as client:
        yield client


def test_a_device_that_can_do_what_is_asked_is_ours(client: DeviceClient) -> None:
    reserve(client, Wants("a long night"), 0.0, pytest.fail)
    with open_device(load_profile("local")) as other:
        assert other.info.facts["lock"]["purpose"] == "a long night"
    assert client.clocks is None


def test_the_clocks_are_held_only_where_that_is_asked_for(client: DeviceClient) -> None:
    reserve(client, Wants("a long night", held_clocks=True), 0.0, pytest.fail)
    assert client.clocks is not None


@pytest.mark.parametrize(
    ("runtime", "wants", "error"),
    [
        ("tensorrt", Wants("mine"), CapabilityError),
        ("onnxruntime", Wants("mine", builds=True), UsageError),
        ("onnxruntime", Wants("mine", energy=True), CapabilityError),
    ],
    ids=["runtime", "builds", "energy"],
)
def test_what_a_device_cannot_do_is_told_without_waiting_for_it(
    client: DeviceClient, runtime: str, wants: Wants, error: type[ScbpError]
) -> None:
    client.profile = replace(client.profile, runtime=runtime)
    client.info.facts["conditions"] = {}  # no sensor tells its power
    with open_device(load_profile("local")) as other:
        other.reserve("a long night")
        with pytest.raises(error):
            reserve(client, wants, 0.0, pytest.fail)
