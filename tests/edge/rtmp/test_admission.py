from __future__ import annotations

import pytest

from streamgen_edge.rtmp.admission import Admission, Origin, Place
from streamgen_edge.rtmp.limits import Limits


class Client:
    """A client that remembers why it had to go."""

    def __init__(self, *, news: bool = False) -> None:
        self.news = news
        self.sent_away = ""

    def make_room(self, limit: str) -> None:
        self.sent_away = limit

    def has_news(self) -> bool:
        return self.news


class Gate:
    """An admission, and the clients that came."""

    def __init__(self, **limits: int) -> None:
        self.admission = Admission(Limits(**limits))
        self.now = 0.0

    def comes(self, address: str, *, news: bool = False) -> tuple[Client, Place]:
        client, self.now = Client(news=news), self.now + 1
        place = self.admission.enter(address, client, self.now)
        assert isinstance(place, Place), place
        return client, place

    def publishes(self, address: str) -> Place:
        place = self.comes(address)[1]
        self.admission.publishes(place)
        return place

    def refused(self, address: str) -> str:
        limit = self.admission.enter(address, Client(), self.now)
        assert isinstance(limit, str)
        return limit


def test_an_address_may_have_so_many_publishers_and_others_their_own() -> None:
    gate = Gate(connections_per_address=2)
    first = gate.publishes("192.0.2.1")
    gate.publishes("192.0.2.1")
    assert gate.refused("192.0.2.1") == "connections_per_address"
    gate.publishes("192.0.2.2")
    gate.admission.leave(first)
    gate.publishes("192.0.2.1")
    assert gate.admission.clients == 3


def test_the_server_has_a_limit_of_its_own() -> None:
    gate = Gate(connections=1)
    gate.publishes("192.0.2.1")
    assert gate.refused("192.0.2.2") == "connections"


def test_a_newcomer_takes_the_place_of_the_oldest_of_the_most_crowded_origin() -> None:
    gate = Gate(connections=5)
    alone, _ = gate.comes("192.0.2.9")
    crowd = [gate.comes("192.0.2.1")[0] for _ in range(3)]
    gate.publishes("192.0.2.1")
    gate.comes("192.0.2.2")
    gate.comes("192.0.2.3")
    assert [client.sent_away for client in crowd] == ["connections", "connections", ""]
    assert not alone.sent_away and gate.admission.clients == 5


def test_where_every_client_has_an_address_of_its_own_the_oldest_goes() -> None:
    gate = Gate(connections=3)
    clients = [gate.comes(f"192.0.2.{number}")[0] for number in range(6)]
    assert [bool(client.sent_away) for client in clients] == [True] * 3 + [False] * 3


def test_a_full_origin_makes_room_for_itself_only() -> None:
    gate = Gate(connections_per_address=2)
    other, _ = gate.comes("192.0.2.9")
    gate.publishes("192.0.2.1")
    idle, _ = gate.comes("192.0.2.1")
    gate.comes("192.0.2.1")
    assert idle.sent_away == "connections_per_address" and not other.sent_away


def test_progress_keeps_a_place() -> None:
    gate = Gate(connections_per_address=2)
    busy, place = gate.comes("192.0.2.1")
    idle, _ = gate.comes("192.0.2.1")
    gate.admission.waits(place, gate.now + 1)
    gate.comes("192.0.2.1")
    assert idle.sent_away and not busy.sent_away


def test_a_client_whose_first_words_are_not_read_yet_is_no_idle_one() -> None:
    gate = Gate(connections_per_address=3)
    speaking = [gate.comes("192.0.2.1", news=True)[0] for _ in range(2)]
    idle, _ = gate.comes("192.0.2.1")
    gate.comes("192.0.2.1")
    assert idle.sent_away and not any(client.sent_away for client in speaking)


def test_when_all_speak_the_first_goes_all_the_same() -> None:
    gate = Gate(connections_per_address=3)
    speaking = [gate.comes("192.0.2.1", news=True)[0] for _ in range(3)]
    gate.comes("192.0.2.1")
    assert [bool(client.sent_away) for client in speaking] == [True, False, False]


def test_who_was_let_in_before_goes_after_strangers() -> None:
    gate = Gate(connections=2)
    known = Client()
    place = gate.admission.enter("192.0.2.1", known, 0.0)
    assert isinstance(place, Place)
    gate.admission.publishes(place)
    gate.admission.waits(place, 0.5)
    stranger, _ = gate.comes("192.0.2.2")
    _, last = gate.comes("192.0.2.3")
    assert stranger.sent_away and not known.sent_away
    gate.admission.publishes(last)
    gate.publishes("192.0.2.4")
    assert known.sent_away == "connections"
    assert gate.refused("192.0.2.5") == "connections"


def test_who_is_being_closed_goes_first() -> None:
    gate = Gate(connections=2)
    first, _ = gate.comes("192.0.2.1")
    leaving = Client(news=True)
    place = gate.admission.enter("192.0.2.1", leaving, 5.0)
    assert isinstance(place, Place)
    gate.admission.publishes(place)
    gate.admission.goes(place)
    gate.comes("192.0.2.2")
    assert leaving.sent_away and not first.sent_away


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
    place = admission.enter(one, Client(), 0.0)
    assert isinstance(place, Place)
    admission.publishes(place)
    assert isinstance(admission.enter(other, Client(), 0.0), Place) is not same


def test_reading_waits_as_long_as_the_rate_is_exceeded() -> None:
    origin = Origin("192.0.2.1", rate=1000)
    assert origin.delay_s(900, 10.0) == 0
    assert origin.delay_s(1100, 10.0) == pytest.approx(1.0)
    assert origin.delay_s(100, 11.5) == 0
    assert origin.delay_s(0, 99.0) == 0
