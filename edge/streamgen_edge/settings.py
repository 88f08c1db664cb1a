"""`streamgen.yaml` as values: what the server listens on, who may publish, what streams become.

Everything has a default, and the defaults are loopback only. `STREAMGEN_RTMP__PORT=1936` and its
like override the file, key by key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from streamgen.config import DurationNs, Settings, check, read_yaml
from streamgen.control.keys import public_key
from streamgen.control.origin import is_loopback
from streamgen.control.wire import Place
from streamgen.errors import ConfigError
from streamgen_edge.auth.settings import Auth
from streamgen_edge.cluster.settings import ClusterSettings
from streamgen_edge.hooks.settings import WrittenHooks
from streamgen_edge.limits import ServerLimits, StreamLimits
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from streamgen_edge.push.settings import PushSettings, WrittenPush, named
from streamgen_edge.recording.settings import RecordingSettings

PREFIX = "STREAMGEN_"
NOT_OURS = frozenset({"CACHE", "RUN"})
"""Variables of that prefix that are no keys of the file; tests have theirs, too."""
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\[\]]+):(\d{1,5})")
_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")
STREAM_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Tls(Settings):
    """A certificate and its key, as PEM files."""

    cert: Path
    """Our own first, then those that signed it."""
    key: Path


def _none_if_empty(value: Any) -> Any:
    """`{cert: , key: }`: the keys are there to be filled in, and were not."""
    if isinstance(value, dict) and value and all(one is None for one in value.values()):
        return None
    return value


class _Listening(Settings):
    listen: str
    """Address and port, `127.0.0.1:8080` or `[::1]:8080`."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """Takes the place of the port in `listen`; 0 is any free one."""
    tls: Annotated[Tls | None, BeforeValidator(_none_if_empty)] = None
    """Read again on SIGHUP; whether there is TLS at all is decided at the start."""

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
    origins: tuple[str, ...] = ()
    """Other sites whose pages may publish here, with a key: `https://studio.example`."""


class Rtmp(_Listening):
    """Where encoders publish."""

    listen: str = "127.0.0.1:1935"


class WebRtc(Settings):
    """Where WebRTC media goes."""

    listen: tuple[str, ...] = ("127.0.0.1",)
    """Addresses that candidates are made of, and no other."""
    udp_ports: str = "50000-50999"
    advertise: tuple[str, ...] = ()
    """What clients are told instead, where the router has another address than we."""
    ice_servers: tuple[str, ...] = ()
    """STUN servers, `stun:host:port`, for us and for clients."""
    turn: dict[str, Any] | None = None
    """A relay: `urls`, the `secret` shared with it, and `ttl` of the passwords in seconds."""
    processes: int | None = Field(default=None, ge=0, le=64)
    """At most so many more that serve viewers; None: one for every two cores."""
    processes_above: float = Field(default=0.6, ge=0, le=1)
    """Part of a core that the edge uses when they get the next viewers."""

    @field_validator("udp_ports")
    @classmethod
    def _range(cls, value: str) -> str:
        match = _PORTS.fullmatch(value)
        if match is None or not 0 < int(match[1]) <= int(match[2]) <= 65535:
            raise ValueError(f"not a range of ports: '{value}' (write 50000-50999)")
        return value


class Hls(Settings):
    """Low-latency HLS."""

    part: DurationNs = 333_000_000
    window: DurationNs = 30_000_000_000
    """How far back players may go."""


class LinkSettings(Settings):
    """Workers on other machines; those of this machine need nothing."""

    listen: str
    """Address and port; the port above it is taken, too."""
    key: Path
    """The edge's own key, made by `streamgen worker --new-key`."""
    workers: tuple[str, ...] = Field(min_length=1)
    """Public keys that may come in. Read again on SIGHUP."""

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        return _as_value(Place.at, value)

    @field_validator("workers")
    @classmethod
    def _keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for key in value:
            _as_value(public_key, key)
        return value


def _as_value(read: Callable[[str], object], text: str) -> str:
    try:
        read(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return text


class StreamSettings(Settings):
    """What streams of one pattern are."""

    pipeline: str | None = None
    """A built-in pipeline or a path; default: the server's."""
    publish: tuple[str, ...] | Literal["anyone"] = ()
    """Names of the keys that may publish."""
    play: Literal["anyone"] | tuple[str, ...] = "anyone"
    """Names of the keys that may play; tokens and `auth.callback` may let others in, here and to
    publish. With `auth.callback` the default is nobody but them."""
    record: bool = False
    """Into files, as `recording` says. Read again on SIGHUP."""
    push: tuple[WrittenPush, ...] = ()
    """Servers that get the stream, too: addresses, or `{url, token, rung, id}`. Read again on
    SIGHUP."""
    grace: DurationNs = 20_000_000_000
    """How long a lost publisher is waited for."""
    limits: StreamLimits = StreamLimits()
    paid: bool = True
    """In a cluster where room is short: free streams give up their stages, then all rungs but the
    lowest, for paid ones."""

    @field_validator("push")
    @classmethod
    def _once(cls, value: tuple[PushSettings, ...]) -> tuple[PushSettings, ...]:
        named(value)
        return value


class Server(Settings):
    """The whole file."""

    http: Http = Http()
    rtmp: Rtmp = Rtmp()
    webrtc: WebRtc = WebRtc()
    auth: Auth = Auth()
    hls: Hls = Hls()
    recording: RecordingSettings = RecordingSettings()
    """Of streams with `record`."""
    limits: ServerLimits = ServerLimits()
    """Of all together. Read again on SIGHUP."""
    outbound: OutboundSettings = OutboundSettings()
    hooks: WrittenHooks = Field(default_factory=dict)
    """Services that are told what happens to streams, by name. Read again on SIGHUP."""
    media_roots: tuple[Path, ...] = ()
    """Folders below which pipelines that come by the API may name pictures, fonts and slates, and
    jobs their inputs and outputs. Read again on SIGHUP."""
    store: str | None = None
    """Database of jobs, as `streamgen jobs` has it: with one the API has `/v1/jobs`, and what hooks
    have still to be told outlives the server."""
    pipeline: str = "starry"
    """Of streams that name none."""
    workers: int = Field(default=2, ge=0, le=64)
    """Worker processes of this machine. One beyond what is busy takes over at once when another
    dies. None only where others may come in by `link`."""
    link: LinkSettings | None = None
    cluster: ClusterSettings | None = None
    """Streams run on any worker of it; the workers of this machine are some of them."""
    streams: dict[str, StreamSettings] = Field(default_factory=dict)
    """By pattern, `*` and `?` as in file names; the first that fits counts. None at all: every
    name, open to this machine."""

    @model_validator(mode="after")
    def _keys(self) -> Server:
        auth = self.auth
        for pattern, stream in self.streams.items():
            if not re.fullmatch(r"[A-Za-z0-9_*?-]{1,64}", pattern):
                raise ValueError(f"streams: '{pattern}' is no name or pattern")
            players = {**auth.publish_keys, **auth.play_keys}
            for names, keys in ((stream.publish, auth.publish_keys), (stream.play, players)):
                unknown = set() if names == "anyone" else set(names) - set(keys)
                if unknown:
                    raise ValueError(f"streams.{pattern}: unknown key '{min(unknown)}'")
        if self.workers == 0 and self.link is None and self.cluster is None:
            raise ValueError("workers: 0 without link or cluster: nobody would do the work")
        if self.cluster is not None and self.cluster.between_machines and self.link is None:
            raise ValueError("cluster: workers of other machines need link to come in")
        return self

    @model_validator(mode="after")
    def _not_in_the_open(self) -> Server:
        """Others may come, and nobody asks who they are: refuse that."""
        open_to_all = self._nameless == "anyone" and not self.streams
        if not open_to_all and all(s.publish != "anyone" for s in self.streams.values()):
            return self
        for name, place in (("rtmp", self.rtmp), ("http", self.http)):
            if not place.loopback:
                raise ValueError(
                    f"{name} listens to others and anyone may publish: name streams and their keys"
                )
        return self

    @property
    def _nameless(self) -> Literal["anyone"] | tuple[str, ...]:
        """Who may publish and play where no streams are named."""
        auth = self.auth
        return () if auth.tokens is not None or auth.callback is not None else "anyone"

    @property
    def asked(self) -> list[tuple[str, Url]]:
        """The services that this server goes to by itself, by their keys in the file."""
        tokens, callback = self.auth.tokens, self.auth.callback
        found = []
        if tokens is not None and isinstance(tokens.source, Url):
            found.append(("auth.jwt.jwks", tokens.source))
        if callback is not None:
            found.append(("auth.callback", Url.of(callback.url)))
        found += [(f"hooks.{name}", Url.of(hook.url)) for name, hook in self.hooks.items()]
        return found

    def stream(self, name: str) -> StreamSettings | None:
        """The settings of a stream; None: there is no such stream here."""
        if not STREAM_NAME.fullmatch(name):
            return None
        if not self.streams:
            return StreamSettings(publish=self._nameless, play=self._nameless)
        for pattern, settings in self.streams.items():
            if fnmatchcase(name, pattern):
                unsaid = self.auth.callback is not None and "play" not in settings.model_fields_set
                # A service that says who may play is not passed by because this was left out.
                return settings.model_copy(update={"play": ()}) if unsaid else settings
        return None


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
    problem = _problem(value, None if path is None else str(path), node)
    for key, text in environment.items():
        name = key.removeprefix(PREFIX)
        known = name.partition("__")[0].lower() in Server.model_fields
        if key.startswith(PREFIX) and known and name not in NOT_OURS:
            value = _with(value, name.lower().split("__"), _plain(key, text))
            found = _problem(value, key)
            problem = None if found is None else problem or found
    for key, change in changes.items():
        if change is not None:
            value = _with(value, key.split("__"), change)
    try:
        return check(Server, value, name=None if path is None else str(path))
    except ConfigError as error:
        raise problem or error from error


def _problem(value: dict[str, Any], name: str | None, node: Any = None) -> ConfigError | None:
    """What is wrong so far. What comes over it may put it right: secrets that no file has, say."""
    try:
        check(Server, value, name=name, node=node)
    except ConfigError as error:
        return error
    return None


def _plain(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{key}: not a value") from error


def _with(value: dict[str, Any], keys: list[str], new: Any) -> dict[str, Any]:
    """A copy in which what `keys` lead to is `new`."""
    first, *rest = keys
    below = value.get(first)
    if rest:
        new = _with(below if isinstance(below, dict) else {}, rest, new)
    return {**value, first: new}


def restart_needed(former: Server, new: Server) -> list[str]:
    """Keys that have changed and are read at the start only. Certificates, keys, streams and the
    pipeline of streams to come are not among them."""
    found = []
    for name in ("http", "rtmp", "webrtc", "workers", "link", "cluster", "store"):
        old, now = getattr(former, name), getattr(new, name)
        if name in ("http", "rtmp") and old.tls is not None and now.tls is not None:
            now = now.model_copy(update={"tls": old.tls})
        if name == "link" and old is not None and now is not None:
            now = now.model_copy(update={"workers": old.workers})
        if old != now:
            found.append(name)
    return found
