"""Where the server never goes, whatever a URL says or a name resolves to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from streamgen.config import check
from streamgen.errors import ConfigError
from streamgen_edge.outbound.ranges import METADATA, peculiar
from streamgen_edge.outbound.resolving import Forbidden, Names, OutboundError, ask_system, resolve
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from tests.edge.webrtc.peers import looped

NOWHERE = OutboundSettings()


class Book:
    """Names and what they resolve to, each time that they are asked for."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255",
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "239.1.1.1", "240.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.7",
        "::", "::1", "fc00::1", "fd12::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%1",
        "fec0::1", "ff02::1", "2001:db8::1", "2001::1", "64:ff9b:1::808:808", "100::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
        "::ffff:0:192.168.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::100.64.0.1",
        "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::5", "2600::5efe:10.0.0.1",
        "2600::200:5efe:127.0.0.1",
    ],
)  # fmt: skip
def test_no_url_leads_inside(address: str) -> None:
    with pytest.raises(Forbidden) as caught:
        asyncio.run(resolve(address, 443, NOWHERE))
    assert caught.value.host == address
    named = Book([address])
    with pytest.raises(Forbidden, match=r"harmless\.example: .* address"):
        asyncio.run(resolve("harmless.example", 443, NOWHERE, named))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2600::1", "64:ff9b::8.8.8.8", "2002:808:808::1"],
)
def test_the_internet_is_open(address: str) -> None:
    assert peculiar(ip_address(address)) is None
    (found,) = asyncio.run(resolve(address, 443, NOWHERE))
    assert (found.ip, found.port, found.listed) == (str(ip_address(address)), 443, False)


@pytest.mark.parametrize(
    ("host", "address", "allow", "goes"),
    [
        ("10.1.2.3", "10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", "10.1.2.4", False),
        ("inner.example", "10.1.2.3", "10.1.2.3", True),
        ("Inner.Example.", "10.1.2.3", "inner.example", True),
        ("x.inner.example", "10.1.2.3", "inner.example", False),
        ("inner.example", "::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("inner.example", "fd12::1", "fd00::/8", True),
        ("inner.example", "169.254.169.254", "inner.example", False),
        ("169.254.169.254", "169.254.169.254", "0.0.0.0/0", False),
        ("169.254.169.254", "169.254.169.254", "169.254.169.254", True),
        ("x", "64:ff9b::a9fe:a9fe", "64:ff9b::/96", False),
    ],
)
def test_what_is_allowed_may_be_reached(host: str, address: str, allow: str, goes: bool) -> None:
    outbound = check(OutboundSettings, {"allow": [allow]})
    try:
        (found,) = asyncio.run(resolve(host, 80, outbound, Book([address])))
    except Forbidden:
        assert not goes
    else:
        assert goes and found.listed


@pytest.mark.parametrize("address", sorted(map(str, METADATA)))
def test_metadata_is_known_in_every_form(address: str) -> None:
    ip = ip_address(address)
    forms = [ip]
    if ip.version == 4:
        forms += [ip_address(f"::ffff:{address}"), ip_address(f"64:ff9b::{address}")]
        forms.append(ip_address(0x2002 << 112 | int(ip) << 80))
    assert {peculiar(form) for form in forms} == {"a cloud's metadata address"}


def test_a_name_that_leads_inside_as_well_is_refused_whole() -> None:
    with pytest.raises(Forbidden, match="a loopback address"):
        asyncio.run(resolve("both.example", 443, NOWHERE, Book(["8.8.8.8", "127.0.0.1"])))


def test_a_name_is_asked_for_once() -> None:
    book = Book(["8.8.8.8"], ["127.0.0.1"])  # what a rebinding server would say the second time
    (found,) = asyncio.run(resolve("turning.example", 443, NOWHERE, book))
    assert (found.ip, found.host, book.asked) == ("8.8.8.8", "turning.example", 1)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "localhost"])
def test_loopback_written_otherwise_is_still_loopback(host: str) -> None:
    with pytest.raises(OutboundError, match=r"a loopback address|leads nowhere"):
        asyncio.run(resolve(host, 443, NOWHERE, ask_system))


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 300, "x..y"])
def test_a_name_that_is_none_leads_nowhere(host: str) -> None:
    with pytest.raises(OutboundError, match="leads nowhere"):
        asyncio.run(resolve(host, 443, NOWHERE))


@looped
async def test_one_question_serves_all_who_ask_and_survives_the_impatient() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asked = []

    async def slow(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        await answer
        return ["8.8.8.8"]

    names = Names(slow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await names("slow.example", 443)
    other = asyncio.create_task(names("slow.example", 443))
    await asyncio.sleep(0)
    answer.set_result(None)
    assert list(await other) == ["8.8.8.8"] and asked == ["slow.example"]
    await asyncio.sleep(0)
    answer = asyncio.get_running_loop().create_future()
    answer.set_result(None)
    await names("slow.example", 443)
    assert len(asked) == 2  # nothing is remembered


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "a b", "http://x", "*", "-x", ""])
def test_what_cannot_be_allowed_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match="no host, address or range"):
        check(OutboundSettings, {"allow": [entry]})


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a/b", "//a/b", "a/b", "", "https://", "https:///x", "https://u:p@h/x", "https://h:0/",
        "https://h:99999/", "https://h/x y", "https://h/\r\nX: y", "https://[::1/", "https://é/",
        "https://h\\@8.8.8.8/", "https://h/#x", "file:///etc/passwd", "https://" + "a" * 5000,
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Url.of(text)
    assert "p@h" not in str(caught.value) and "passwd" not in str(caught.value)


def test_a_url_shows_nothing_behind_its_host() -> None:
    url = Url.of("https://hooks.example:8443/secret?token=secret")
    assert url.shown == "https://hooks.example:8443" and "secret" not in repr(url)
    assert url.path == "/secret?token=secret"
    assert Url.of("http://[::1]").authority == "[::1]"
