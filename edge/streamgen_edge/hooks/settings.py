"""`HookSettings`: a service that is told what happens to streams."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from streamgen.config import Settings
from streamgen_edge.hooks.event import Kind
from streamgen_edge.outbound.signing import HttpUrl, SigningSecret

MOST = 16
"""Hooks of one server."""


class HookSettings(Settings):
    """A service of yours that is told what happens to streams."""

    url: HttpUrl = Field(repr=False)
    """Told by POST; 2xx is taken as heard."""
    secret: SigningSecret = Field(repr=False)
    """What the messages are signed with."""
    events: tuple[Kind, ...] = Field(default=tuple(Kind), min_length=1)
    """What it is told; default: all."""


HookName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""What it is called in the API, in metrics and in logs."""
WrittenHooks = Annotated[dict[HookName, HookSettings], Field(max_length=MOST)]
