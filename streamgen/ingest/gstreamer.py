"""What a GStreamer pipeline gives, as a pipe that libavformat reads."""

from __future__ import annotations

from streamgen.errors import SourceError
from streamgen.gstreamer.process import PREFIX, PipelineProcess, name_of, unstarted
from streamgen.ingest.pipe import Pipe


class PipelineEnded(OSError):
    """The pipeline has failed, or gives nothing any more. Its text is for the user."""


class GstPipe:
    """File-like object over a pipeline's output; as `Pipe`, with reasons.

    `read` raises `PipelineEnded` when the pipeline reports an error or nothing comes for
    `timeout_s`, and `SourceError` when its process was killed or crashed.
    """

    def __init__(self, text: str, *, timeout_s: float) -> None:
        description = text.removeprefix(PREFIX)
        self.name = name_of(text)
        self._timeout_s = timeout_s
        self._begun = False
        self._failed = False
        try:
            self._process = PipelineProcess("source", description, name=self.name)
        except OSError as error:
            raise SourceError(f"{self.name}: {unstarted(error)}") from error
        self._pipe = Pipe(self.name, timeout_s=timeout_s, fd=self._process.media)
        self._process.media = -1  # the pipe's own from now on

    @property
    def notes(self) -> list[str]:
        return self._process.listen().notes

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end, and none after an error."""
        if self._failed:
            return b""  # libavformat asks again before it tells anybody
        self._failed = True
        try:
            data = self._pipe.read(size)
        except TimeoutError as error:
            raise PipelineEnded(self._silence()) from error
        if not data and not self._pipe.cancelled:
            self._check()
        self._failed = False
        self._begun = self._begun or bool(data)
        return data

    def _silence(self) -> str:
        told = self._process.listen()
        if told.error is not None:
            return told.error
        what = "nothing came" if self._begun else "no stream"
        last = f"; last it said: {told.warning}" if told.warning else ""
        return f"{what} for {self._timeout_s:g} s from {self.name}, which still runs{last}"

    def _check(self) -> None:
        why = self._process.why()
        if why is not None and self._process.crashed():
            raise SourceError(f"{self.name}: {why}")
        if why is not None:
            raise PipelineEnded(why)
        if not self._begun:
            raise PipelineEnded("ended before anything came")

    def cancel(self) -> None:
        """End every `read` from now on."""
        self._pipe.cancel()

    def close(self) -> None:
        """End the pipeline and its process; waits for the end."""
        self._pipe.close()
        self._process.close()
