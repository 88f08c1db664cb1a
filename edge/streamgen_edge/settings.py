"""`streamgen.yaml` as values: what the server listens on, who may publish, what streams become.

Everything has a default, and the defaults are loopback only. `STREAMGEN_RTMP__PORT=1936` and its
like override the file, key by key.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from streamgen.config import Bitrate, DurationNs, Settings, check, read_yaml
from streamgen.errors import ConfigError

PREFIX = "STREAMGEN_"
NOT_OURS = frozenset({"CACHE", "RUN"})
"""Variables of that prefix that are no keys of the file; tests have theirs, too."""
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\[\]]+):(\d{1,5})")
_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")
STREAM_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Tls(Settings):
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class _Listening(Settings):
    listen: str
    """Address and port, `127.0.0.1:8080` or `[::1]:8080`."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """Takes the place of the port in `listen`; 0 is any free one."""
    tls: Tls | None = None

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        match = _ADDRESS.fullmatch(value)
        if match is None or int(match[2]) > 65535:
            raise ValueError(f"not an address: '{value}' (write 127.0.0.1:8080)")
        return value

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def number(self) -> int:
        """The port to listen on."""
        return int(self.listen.rpartition(":")[2]) if self.port is None else self.port

    @property
    def listen_at(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.number}"

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


class Http(_Listening):
    """API, HLS, WHIP, WHEP and the page."""

    listen: str = "127.0.0.1:8080"
    hosts: tuple[str, ...] = ("localhost",)
    """Names that browsers may call this server by, beside its addresses."""


class Rtmp(_Listening):
    """Where encoders publish."""

    listen: str = "127.0.0.1:1935"


class WebRtc(Settings):
    """Where WebRTC media goes."""

    listen: tuple[str, ...] = ("127.0.0.1",)
    udp_ports: str = "50000-50999"
    advertise: tuple[str, ...] = ()
    ice_servers: tuple[str, ...] = ()
    turn: dict[str, Any] | None = None

    @field_validator("udp_ports")
    @classmethod
    def _range(cls, value: str) -> str:
        match = _PORTS.fullmatch(value)
        if match is None or not 0 < int(match[1]) <= int(match[2]) <= 65535:
            raise ValueError(f"not a range of ports: '{value}' (write 50000-50999)")
        return value


class Auth(Settings):
    """Who may do what; three scopes, none implies another."""

    publish_keys: dict[str, str] = Field(default_factory=dict, repr=False)
    """Secrets by name; streams name those that may publish them."""
    admin_keys: dict[str, str] = Field(default_factory=dict, repr=False)
    """Secrets for the API. Without any, only this machine may use it."""
    jwt: dict[str, Any] | None = None
    callback: str | None = None


class Hls(Settings):
    part: DurationNs = 333_000_000
    window: DurationNs = 30_000_000_000


class StreamLimits(Settings):
    bitrate: Bitrate = 12_000_000
    """Of the publisher; one that sends more for long is ended."""
    viewers: int = Field(default=500, ge=1)


class StreamSettings(Settings):
    """What streams of one pattern are."""

    pipeline: str | None = None
    """A built-in pipeline or a path; default: the server's."""
    publish: tuple[str, ...] | Literal["anyone"] = ()
    """Names of the keys that may publish."""
    play: Literal["anyone"] | tuple[str, ...] = "anyone"
    record: bool = False
    push: tuple[str, ...] = ()
    grace: DurationNs = 20_000_000_000
    """How long a lost publisher is waited for."""
    limits: StreamLimits = StreamLimits()


class Server(Settings):
    """The whole file."""

    http: Http = Http()
    rtmp: Rtmp = Rtmp()
    webrtc: WebRtc = WebRtc()
    auth: Auth = Auth()
    hls: Hls = Hls()
    pipeline: str = "starry"
    """Of streams that name none."""
    workers: int = Field(default=2, ge=1, le=64)
    """Worker processes. One beyond what is busy takes over at once when another dies."""
    streams: dict[str, StreamSettings] = Field(default_factory=dict)
    """By pattern, `*` and `?` as in file names; the first that fits counts. None at all: every
    name, open to this machine."""

    @model_validator(mode="after")
    def _keys(self) -> Server:
        for pattern, stream in self.streams.items():
            if not re.fullmatch(r"[A-Za-z0-9_*?-]{1,64}", pattern):
                raise ValueError(f"streams: '{pattern}' is no name or pattern")
            unknown = set(stream.publish) - set(self.auth.publish_keys)
            if stream.publish != "anyone" and unknown:
                raise ValueError(f"streams.{pattern}: unknown key '{min(unknown)}'")
        open_to_all = not self.streams or any(s.publish == "anyone" for s in self.streams.values())
        if open_to_all and not self.rtmp.loopback:
            raise ValueError(
                "rtmp listens to others and anyone may publish: name streams and their keys"
            )
        return self

    def stream(self, name: str) -> StreamSettings | None:
        """The settings of a stream; None: there is no such stream here."""
        if not STREAM_NAME.fullmatch(name):
            return None
        if not self.streams:
            return StreamSettings(publish="anyone")
        for pattern, settings in self.streams.items():
            if fnmatchcase(name, pattern):
                return settings
        return None

    def may_publish(self, settings: StreamSettings, token: str | None) -> bool:
        if settings.publish == "anyone":
            return True
        secrets = (self.auth.publish_keys[name] for name in settings.publish)
        return token is not None and fits(token, secrets)


def fits(token: str, secrets: Iterable[str]) -> bool:
    """Whether it is one of the secrets; takes as long for every wrong one."""
    given = token.encode()
    return sum(hmac.compare_digest(given, secret.encode()) for secret in secrets) > 0


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def load_server(
    path: Path | None, environment: Mapping[str, str] = os.environ, **changes: Any
) -> Server:
    """The file, the environment over it, and `changes` (`http__port=0`) over both.

    Raises `ConfigError` naming the line, variable or key.
    """
    value: dict[str, Any] = {}
    node = None
    if path is not None:
        value, node = read_yaml(path)
    check(Server, value, name=None if path is None else str(path), node=node)
    for key, text in environment.items():
        name = key.removeprefix(PREFIX)
        known = name.partition("__")[0].lower() in Server.model_fields
        if key.startswith(PREFIX) and known and name not in NOT_OURS:
            value = _with(value, name.lower().split("__"), _plain(key, text))
            check(Server, value, name=key)
    for key, change in changes.items():
        if change is not None:
            value = _with(value, key.split("__"), change)
    return check(Server, value, name=None if path is None else str(path))


def _plain(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: not a value") from error


def _with(value: dict[str, Any], keys: list[str], new: Any) -> dict[str, Any]:
    """A copy in which what `keys` lead to is `new`."""
    first, *rest = keys
    below = value.get(first)
    if rest:
        new = _with(below if isinstance(below, dict) else {}, rest, new)
    return {**value, first: new}
