"""Who may administer: the bearers of keys, or where nobody was named, this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from fastapi import HTTPException, Request

from streamgen.control import origin
from streamgen_edge.auth.access import Access
from streamgen_edge.auth.asking import Asking, Scope


class Guarded(Protocol):
    @property
    def access(self) -> Access:
        """As the configuration has it now."""
        ...


def administrator(guarded: Guarded) -> Callable[[Request], Awaitable[None]]:
    """Raises `HTTPException` for all others, and for pages of other sites whoever looks at them.

    Without keys the right is that of this machine alone, and what a proxy here sends on is not of
    this machine: neither what says so nor what was sent to another name than the loopback's.
    """

    async def admin(request: Request) -> None:
        headers = request.scope["headers"]
        if origin.from_other_site(headers):
            raise HTTPException(403, "pages of other sites may do nothing here")
        access = guarded.access
        if not access.guards_api:
            here = request.client is not None and origin.is_loopback(request.client.host)
            old = request.scope.get("http_version") == "1.0"  # as nginx asks, if it is told nothing
            if here and not old and not origin.proxied(headers):
                if origin.is_loopback_name(origin.host(headers)):
                    return
                raise HTTPException(403, "the API is for http://localhost; or set auth.admin_keys")
            raise HTTPException(403, "the API is for this machine only; configure auth.admin_keys")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise HTTPException(401, "a bearer token is needed", {"www-authenticate": "Bearer"})
        status = await access.status(Asking(Scope.ADMIN, "", token))
        if status is not None:
            raise HTTPException(status, "this token may not administer")

    return admin
