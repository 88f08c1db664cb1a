"""What an address is: one of the internet's, or one that a stranger's URL must never lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # most clouds
            "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23",  # AWS
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure; lies among public addresses
            "192.0.0.192",  # Oracle
        ),
    )
)  # fmt: skip
"""Where clouds tell a machine its secrets."""
_KINDS: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "an unspecified address"),
        ("127.0.0.0/8", "a loopback address"),
        ("10.0.0.0/8", "a private address"),
        ("172.16.0.0/12", "a private address"),
        ("192.168.0.0/16", "a private address"),
        ("169.254.0.0/16", "a link-local address"),
        ("100.64.0.0/10", "a carrier's inner address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("fc00::/7", "a unique-local address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
        ("64:ff9b:1::/48", "a translator's inner address"),  # RFC 8215
        ("2001::/32", "a Teredo address"),
        ("100::/64", "a reserved address"),
    )
)
_CARRIES: tuple[tuple[IPv6Network, int], ...] = tuple(
    (IPv6Network(network), behind)
    for network, behind in (
        ("::ffff:0:0/96", 0),  # mapped (RFC 4291)
        ("::ffff:0:0:0/96", 0),  # translated (RFC 2765)
        ("::/96", 0),  # compatible (RFC 4291)
        ("64:ff9b::/96", 0),  # NAT64 (RFC 6052)
        ("2002::/16", 80),  # 6to4 (RFC 3056)
    )
)
"""IPv6 addresses that end at an IPv4 address, and how many bits stand behind that."""
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def carried(ip: Ip) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, if it does."""
    if ip.version == 4 or int(ip) < 2:
        return None
    for network, behind in _CARRIES:
        if ip in network:
            return IPv4Address(int(ip) >> behind & 0xFFFF_FFFF)
    if int(ip) >> 32 & 0xFFFF_FFFF in _ISATAP:  # RFC 5214
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return None


def ends_at(ip: Ip) -> tuple[Ip, ...]:
    """The address, and the one that it carries."""
    inner = carried(ip)
    return (ip,) if inner is None else (ip, inner)


def is_metadata(ip: Ip) -> bool:
    return any(one in METADATA for one in ends_at(ip))


def peculiar(ip: Ip) -> str | None:
    """Why this is not an address of the internet; None when it is one."""
    if is_metadata(ip):
        return "a cloud's metadata address"
    ends = ends_at(ip)
    for one in reversed(ends):
        for network, kind in _KINDS:
            if one.version == network.version and one in network:
                return kind
    # What else the registries keep for themselves; the form that carries another says nothing.
    return None if ends[-1].is_global else "not a public address"
