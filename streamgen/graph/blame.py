"""`Blame`: what a stage's own code raises, put to the stage: an error of one picture."""

from __future__ import annotations

from types import TracebackType

from streamgen.errors import StageError, StreamGenError


class Blame:
    """`with Blame(node, pts):` around a call of a stage, which may be anybody's code.

    Whatever it raises, `sys.exit()` too, leaves as a `StageError`; errors of streamgen's own tree
    and an interrupt pass as they are.
    """

    __slots__ = ("_pts", "_stage")

    def __init__(self, stage: str, pts: int = 0) -> None:
        self._stage, self._pts = stage, pts

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception | SystemExit) and not isinstance(error, StreamGenError):
            text = f"{self._stage}: {type(error).__name__}: {error}"
            raise StageError(text, stage=self._stage, pts=self._pts) from error
