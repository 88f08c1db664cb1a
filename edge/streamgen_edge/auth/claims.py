"""`Grant`: what a token says that its bearer may do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from streamgen.errors import StreamGenError
from streamgen_edge.auth.asking import Scope

CLAIM = "streamgen"
"""`[{"streams": ["live-*"], "actions": ["publish", "play"]}, {"actions": ["admin"]}]`"""
MOST = 64
"""Rules of a token, and patterns of a rule."""
_PATTERN = re.compile(r"[A-Za-z0-9_*?-]{1,64}")
_SCOPES = {scope.value: scope for scope in Scope}


class BadToken(StreamGenError):
    """This token is not to be believed. The text is for us; it holds nothing of the token."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Some actions on some streams."""

    actions: frozenset[Scope]
    streams: tuple[str, ...]
    """Patterns with `*` and `?`, as in the configuration."""

    def allows(self, scope: Scope, stream: str) -> bool:
        if scope not in self.actions:
            return False
        whole = scope is Scope.ADMIN  # the server has no name
        return whole or any(fnmatchcase(stream, pattern) for pattern in self.streams)


@dataclass(frozen=True, slots=True)
class Grant:
    """All rules of a token; one that allows is enough."""

    rules: tuple[Rule, ...]

    def allows(self, scope: Scope, stream: str) -> bool:
        return any(rule.allows(scope, stream) for rule in self.rules)


def grant_of(claims: Mapping[str, Any]) -> Grant:
    """Read it. What is not as it should be spoils the whole: no part of it was meant then.

    Raises `BadToken`.
    """
    value = claims.get(CLAIM)
    if not isinstance(value, list) or len(value) > MOST:
        raise BadToken(f"'{CLAIM}' is no list of rules")
    return Grant(tuple(_rule(entry) for entry in value))


def _rule(entry: Any) -> Rule:
    if not isinstance(entry, dict) or entry.keys() - {"streams", "actions"}:
        raise BadToken("a rule has streams and actions, and nothing else")
    streams, actions = _texts(entry.get("streams", [])), _texts(entry.get("actions"))
    if any(action not in _SCOPES for action in actions):
        raise BadToken("a rule has an action that is none")
    if not all(map(_PATTERN.fullmatch, streams)):
        raise BadToken("a rule has a pattern that is none")
    return Rule(frozenset(_SCOPES[action] for action in actions), streams)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST:
        raise BadToken("a rule's streams and actions are lists")
    if not all(isinstance(one, str) for one in value):
        raise BadToken("a rule's streams and actions are texts")
    return tuple(value)
