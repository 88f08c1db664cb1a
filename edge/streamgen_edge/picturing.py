"""The first picture of a fragment as JPEG, in a process of its own that ends with it.

    python -m streamgen_edge.picturing < FRAGMENT.mp4 > PICTURE.jpg

The edge decodes nothing itself: a decoder that crashes or hangs takes this process along only.
"""

from __future__ import annotations

import io
import resource
import sys
from fractions import Fraction

import av

from streamgen.errors import StreamGenError

MOST_BYTES = 1 << 30
"""Of address space."""
MOST_CPU_S = 5


def jpeg(movie: bytes) -> bytes:
    """Raises `StreamGenError` for what has no picture."""
    try:
        with av.open(io.BytesIO(movie), "r") as file:
            file.streams.video[0].codec_context.thread_count = 1  # each takes address space
            frame = next(file.decode(video=0)).reformat(format="yuvj420p")
    except (av.error.FFmpegError, StopIteration, IndexError) as error:
        raise StreamGenError("no picture can be decoded") from error
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = frame.width, frame.height, "yuvj420p"
    codec.time_base, codec.options = Fraction(1), {"qmin": "3", "qmax": "3"}
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
    try:
        sys.stdout.buffer.write(jpeg(sys.stdin.buffer.read()))
    except StreamGenError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
