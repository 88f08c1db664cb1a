"""Clients' offers, made safe for the stack, and our answers, made right for the client.

One audio and one video line are taken, bundled; all others are refused with port 0 (RFC 9725,
4.4; RFC 8843). Candidates of the client are left out unless they are of use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

MOST_BYTES = 64 << 10
MOST_LINES = 32
KINDS = ("audio", "video")
_FMTP = re.compile(r"a=fmtp:(\d{1,3}) (.*)")
_LEVEL = re.compile(r"profile-level-id=([0-9a-fA-F]{6})")
_CANDIDATE = re.compile(r"a=candidate:\S+ \d+ (?i:udp) \d+ (\S+) (\d{1,5}) typ \S+")
_FEEDBACK = re.compile(r"a=rtcp-fb:(?:\d{1,3}|\*) transport-cc")
_NUMBERS = re.compile(
    r"a=extmap:([1-9]|1[0-4])(?:/\w+)? "
    r"http://www\.ietf\.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01(?:\s|$)"
)
_FINGERPRINT = re.compile(r"a=fingerprint:(?i:sha-(?:256|384|512)) [0-9a-fA-F:]{95,191}")


class BadOffer(ValueError):
    """The offer makes no sense, or cannot be accepted; the text is for the client."""


@dataclass(slots=True)
class Section:
    """One media line with its attributes."""

    kind: str
    lines: list[str]
    mid: str = ""

    @property
    def direction(self) -> str:
        for line in self.lines:
            if line in ("a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv"):
                return line[2:]
        return "sendrecv"


@dataclass(slots=True)
class Offer:
    """An offer taken apart. `text` is what the stack is given."""

    text: str
    sections: list[Section]
    kept: list[int] = field(default_factory=list)
    """Places of the sections in `text`."""
    software: str = ""

    @property
    def kinds(self) -> list[str]:
        return [self.sections[at].kind for at in self.kept]

    def level(self, payload_type: int) -> int:
        """`level_idc` that the client takes for an H.264 payload type (RFC 6184, 8.1)."""
        for at in self.kept:
            for line in self.sections[at].lines:
                match = _FMTP.match(line)
                if match and int(match[1]) == payload_type:
                    found = _LEVEL.search(match[2])
                    return int(found[1][4:], 16) if found else 0x1F
        return 0x1F

    def transport_numbers(self, kind: str) -> int | None:
        """Id of the header extension for packets' numbers in the transport, where the client
        answers to it with feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01)."""
        for at in self.kept:
            lines = self.sections[at].lines
            if self.sections[at].kind != kind:
                continue
            if any(_FEEDBACK.fullmatch(line) for line in lines):
                return next(
                    (int(found[1]) for line in lines if (found := _NUMBERS.match(line))), None
                )
        return None

    def payload_types(self, kind: str, codec: str) -> list[int]:
        pattern = re.compile(rf"a=rtpmap:(\d{{1,3}}) {codec}/", re.IGNORECASE)
        return [
            int(match[1])
            for at in self.kept
            if self.sections[at].kind == kind
            for line in self.sections[at].lines
            if (match := pattern.match(line))
        ]


def read_offer(text: str, *, direction: Iterable[str], candidates: bool) -> Offer:
    """Take an offer apart whose media may go in one of these directions. Raises `BadOffer`."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    lines = [line for line in lines if line]
    if not lines or lines[0] != "v=0":
        raise BadOffer("not a session description")
    if any(len(line.splitlines()) > 1 for line in lines):
        # The stack would read two lines where we have checked one.
        raise BadOffer("a line of the offer holds a line break that is none in SDP")
    starts = [at for at, line in enumerate(lines) if line.startswith("m=")]
    if not starts:
        raise BadOffer("the offer has no media")
    if len(starts) > MOST_LINES:
        raise BadOffer("too many media lines")
    head = lines[: starts[0]]
    sections = [
        _section(lines[a:b]) for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]
    offer = Offer("", sections)
    wanted = set(direction) | {"sendrecv"}
    for at, section in enumerate(sections):
        taken = {sections[k].kind for k in offer.kept}
        alive = not section.lines[0].startswith(f"m={section.kind} 0 ")
        alive = alive or "a=bundle-only" in section.lines
        if section.kind in KINDS and section.kind not in taken and alive:
            if section.direction not in wanted:
                raise BadOffer(f"the {section.kind} line is '{section.direction}'")
            offer.kept.append(at)
    if not offer.kept:
        raise BadOffer("the offer has no sound and no picture")
    offer.software = next((line[2:66] for line in head if line.startswith("s=")), "")
    _check_bundle(head, [sections[at] for at in offer.kept])
    _check_keys(head, [sections[at] for at in offer.kept])
    offer.text = _text(head, [sections[at] for at in offer.kept], candidates)
    return offer


def _section(lines: list[str]) -> Section:
    kind, *rest = lines[0][2:].split(" ")
    if len(rest) < 3:
        raise BadOffer("a media line is cut short (RFC 8866, 5.14)")
    mid = next((line[6:] for line in lines if line.startswith("a=mid:")), "")
    return Section(kind, lines, mid)


def _check_bundle(head: list[str], kept: list[Section]) -> None:
    if len(kept) < 2:
        return
    groups = [line.split()[1:] for line in head if line.startswith("a=group:BUNDLE")]
    if not any({one.mid for one in kept} <= set(group) for group in groups):
        raise BadOffer("sound and picture must be bundled (RFC 9725, 4.4)")


def _check_keys(head: list[str], kept: list[Section]) -> None:
    """What ICE and DTLS cannot do without (RFC 8839, 5.4; RFC 8122, 5); in a bundle one line may
    say it for all (RFC 8843, 7.1.3)."""
    lines = [*head, *(line for one in kept for line in one.lines)]
    for name in ("ice-ufrag", "ice-pwd"):
        if not any(line.startswith(f"a={name}:") for line in lines):
            raise BadOffer(f"the offer has no {name}")
    if not any(_FINGERPRINT.fullmatch(line) for line in lines):
        raise BadOffer("the offer has no fingerprint of SHA-256 or better")


def _text(head: list[str], kept: list[Section], candidates: bool) -> str:
    out = [line for line in head if not line.startswith("a=group:")]
    out.append("a=group:BUNDLE " + " ".join(one.mid or str(at) for at, one in enumerate(kept)))
    for at, one in enumerate(kept):
        mine = list(one.lines)
        if not one.mid:
            mine.append(f"a=mid:{at}")
        out += [line for line in mine if _of_use(line, candidates)]
    return "\r\n".join(out) + "\r\n"


def _of_use(line: str, candidates: bool) -> bool:
    if line.startswith("a=end-of-candidates"):
        return False
    if not line.startswith("a=candidate:"):
        return True
    return candidates and usable(line)


def usable(line: str) -> bool:
    """A candidate that it makes sense to knock at: a name would have to be looked up, and nobody
    of another machine is found at a loopback, link-local or multicast address."""
    match = _CANDIDATE.match(line)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        return False
    try:
        address = ip_address(match[1])
    except ValueError:
        return False
    nobody = address.is_unspecified or address.is_multicast or address.is_reserved
    return not (nobody or address.is_loopback or address.is_link_local)


def rebuilt(
    answer: str,
    offer: Offer,
    told: Callable[[str], Iterable[str]],
    fmtp: Callable[[int], str] = lambda _: "",
) -> str:
    """The stack's answer with our addresses as clients are told them, what `fmtp` adds to a
    payload type's parameters, and every line that was not taken refused."""
    lines = answer.split("\r\n")
    starts = [at for at, line in enumerate(lines) if line.startswith("m=")]
    head = lines[: starts[0]]
    mine = [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    out = list(head)
    for at, section in enumerate(offer.sections):
        if at in offer.kept:
            out += _ours(mine[offer.kept.index(at)], told, fmtp)
        else:
            kind, _, *rest = section.lines[0][2:].split(" ")
            out += [f"m={kind} 0 {' '.join(rest)}", "c=IN IP4 0.0.0.0", "a=inactive"]
            out += [f"a=mid:{section.mid}"] if section.mid else []
    return "\r\n".join(line for line in out if line) + "\r\n"


def _ours(
    lines: list[str], told: Callable[[str], Iterable[str]], fmtp: Callable[[int], str]
) -> list[str]:
    out: list[str] = []
    for line in lines:
        if line.startswith("a=candidate:"):
            words = line.split(" ")
            for number, address in enumerate(told(words[4]) if words[7] == "host" else [words[4]]):
                # Later addresses of one socket are tried later (RFC 8445, 5.1.2.1).
                words[3] = str(int(words[3]) - 256 * number)
                out.append(" ".join([*words[:4], address, *words[5:]]))
        elif line.startswith("c=IN "):
            address = line.split(" ")[2]
            first = next(iter(told(address)), address) if address != "0.0.0.0" else address
            out.append(f"c=IN IP{6 if ':' in first else 4} {first}")
        else:
            match = _FMTP.match(line)
            out.append(line + (fmtp(int(match[1])) if match else ""))
    return out
