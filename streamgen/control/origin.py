"""Where a request says it comes from: the name it asks for, the page behind it, proxies between.

Browsers tell the truth here, and only browsers have to: programs may write what they like, but then
they have nobody's cookies, keys or place on this machine either.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

Headers = Iterable[tuple[bytes, bytes]]

PROXIES = (
    *(
        b"forwarded",
        b"via",
        b"x-forwarded",
        b"x-original-",
        b"x-real-",
        b"x-client-",
        b"x-cluster-",
    ),
    *(b"x-envoy-", b"x-appengine-", b"x-azure-", b"x-amzn-", b"x-arr-"),
    *(
        b"x-proxy",
        b"x-host",
        b"true-client-ip",
        b"client-ip",
        b"cf-",
        b"cdn-loop",
        b"fastly-",
        b"fly-",
    ),
    *(
        b"x-varnish",
        b"proxy-",
        b"max-forwards",
        b"x-request-start",
        b"x-vercel-",
        b"ngrok-",
        b"tailscale-",
    ),
)
"""What headers that proxies add begin with (RFC 7239; RFC 9110, 7.6.2 and 7.6.3; and custom)."""
_PLAIN = frozenset([b"none", b"same-origin"])


def host(headers: Headers) -> bytes | None:
    """The name that was asked for, in small letters and without the port. None: there is none, or
    more than one (RFC 9112, 3.2). HTTP/2's `:authority` comes as this header, too."""
    found = [value for key, value in headers if key == b"host"]
    if len(found) != 1 or not found[0]:
        return None
    value = found[0]
    name = value.rpartition(b":")[0] if not value.endswith(b"]") and b":" in value else value
    return name.strip(b"[]").lower()


def is_address(name: bytes) -> bool:
    """A number rather than a name: no page can point that at another machine."""
    try:
        ip_address(name.decode("ascii"))
    except ValueError:
        return False
    return True


def is_loopback_name(name: bytes | None) -> bool:
    """This machine, by its usual name or a number."""
    if name is None:
        return False
    return name == b"localhost" or (is_address(name) and ip_address(name.decode()).is_loopback)


def is_loopback(host: str) -> bool:
    """Whether only this machine can be there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def foreign(headers: Headers) -> bool:
    """A page of another site asks (its `Origin`, or what the browser says of it)."""
    told = dict(headers)
    origin = told.get(b"origin")
    if origin is not None:
        try:
            place = urlsplit(origin.decode("latin-1")).netloc
        except ValueError:
            return True
        return place.encode("latin-1") != told.get(b"host")
    return False


def from_other_site(headers: Headers) -> bool:
    """As `foreign`, and also where a page of another site only refers to something here: by a
    picture, a script, a link."""
    headers = list(headers)
    site = dict(headers).get(b"sec-fetch-site", b"none")
    return foreign(headers) or site not in _PLAIN


def proxied(headers: Headers) -> bool:
    """It came through a proxy, so that its address is not where it comes from."""
    return any(key.startswith(PROXIES) for key, _ in headers)
