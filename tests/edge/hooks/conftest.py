"""The databases of the store's tests."""

from tests.control.store.conftest import postgres, url

__all__ = ["postgres", "url"]
