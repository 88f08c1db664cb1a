from __future__ import annotations

import pytest

from streamgen_edge.rtmp.admission import Admission, Origin
from streamgen_edge.rtmp.limits import Limits


def test_an_address_may_have_so_many_connections_and_others_their_own() -> None:
    admission = Admission(Limits(connections_per_address=2))
    first = admission.enter("192.0.2.1")
    assert isinstance(first, Origin) and isinstance(admission.enter("192.0.2.1"), Origin)
    assert admission.enter("192.0.2.1") == "connections_per_address"
    assert isinstance(admission.enter("192.0.2.2"), Origin)
    admission.leave(first)
    assert isinstance(admission.enter("192.0.2.1"), Origin)
    assert admission.clients == 3


def test_the_server_has_a_limit_of_its_own() -> None:
    admission = Admission(Limits(connections=1))
    assert isinstance(admission.enter("192.0.2.1"), Origin)
    assert admission.enter("192.0.2.2") == "connections"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("local", "local", True),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one: str, other: str, same: bool) -> None:
    admission = Admission(Limits(connections_per_address=1))
    admission.enter(one)
    assert isinstance(admission.enter(other), Origin) is not same


def test_reading_waits_as_long_as_the_rate_is_exceeded() -> None:
    origin = Origin("192.0.2.1", rate=1000)
    assert origin.delay_s(900, 10.0) == 0
    assert origin.delay_s(1100, 10.0) == pytest.approx(1.0)
    assert origin.delay_s(100, 11.5) == 0
    assert origin.delay_s(0, 99.0) == 0
