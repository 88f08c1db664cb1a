"""`Access`: may this one do that? By keys, then by tokens, then as a service says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from streamgen_edge.auth.asking import MOST_TOKEN, Asking, Scope, Undecided
from streamgen_edge.auth.claims import BadToken, Grant
from streamgen_edge.auth.settings import Auth, fits
from streamgen_edge.auth.tokens import looks_like_one

NEEDED, REFUSED, LATER = 401, 403, 503
"""A token is needed; this one may not; it cannot be said now, which is a no, too."""


class Believed(Protocol):
    """Tokens of others (`tokens.Tokens`)."""

    async def grant(self, token: str) -> Grant: ...


class Service(Protocol):
    """Somebody who is asked (`callback.Callback`)."""

    async def allows(self, asking: Asking) -> bool: ...


class Access:
    """As one configuration has it."""

    def __init__(self, auth: Auth, tokens: Believed | None, service: Service | None = None) -> None:
        self._auth = auth
        self._tokens = tokens
        self._service = service

    @property
    def guards_api(self) -> bool:
        """Somebody was named who may administer; else it is this machine."""
        return bool(self._auth.admin_keys) or self._tokens is not None

    async def status(self, asking: Asking, names: Iterable[str] = ()) -> int | None:
        """None: it may. Else the status of the refusal: 401, 403 or 503.

        `names` are the keys that the stream's settings name for this; of `ADMIN` all count.
        """
        token = asking.token or None
        if token is not None and len(token) > MOST_TOKEN:
            return REFUSED
        if token is not None and fits(token, self._secrets(asking.scope, names)):
            return None
        unsaid = False
        for says in (self._by_token, self._by_service):
            try:
                if await says(asking):
                    return None
            except Undecided:
                unsaid = True
        if unsaid:
            return LATER
        return NEEDED if token is None else REFUSED

    def _secrets(self, scope: Scope, names: Iterable[str]) -> Iterable[str]:
        auth = self._auth
        match scope:
            case Scope.ADMIN:
                return auth.admin_keys.values()
            case Scope.PUBLISH:
                keys = auth.publish_keys
            case Scope.PLAY:  # a stream may name a publisher's key for its viewers, too
                keys = {**auth.publish_keys, **auth.play_keys}
        return [keys[name] for name in names if name in keys]

    async def _by_token(self, asking: Asking) -> bool:
        token = asking.token
        if self._tokens is None or not token or not looks_like_one(token):
            return False
        try:
            grant = await self._tokens.grant(token)
        except BadToken:
            return False
        return grant.allows(asking.scope, asking.stream)

    async def _by_service(self, asking: Asking) -> bool:
        if self._service is None or asking.scope is Scope.ADMIN:
            return False
        return await self._service.allows(asking)
