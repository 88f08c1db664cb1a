"""A picture in a file, as overlays and slates show it."""

from __future__ import annotations

import os
from pathlib import Path

import av

from streamgen.errors import ConfigError

FORMATS = "image2,png_pipe,jpeg_pipe,webp_pipe,gif,bmp_pipe,tiff_pipe,mov,matroska,apng"
"""What may be in it. No playlists: those open other files."""


def read_picture(path: Path) -> av.VideoFrame:
    """The first picture of a file, in the pixels it has. Raises `ConfigError`.

    Nothing but this one file is opened, whatever its name looks like and whatever is in it.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        with av.open("file:" + os.path.abspath(path), options=options) as container:
            picture = next(container.decode(video=0), None)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ConfigError(f"cannot read the picture {path}: {error}") from error
    if picture is None:
        raise ConfigError(f"cannot read the picture {path}: there is none in it")
    return picture
