"""`Outfit`: which stages, models and codecs a worker has, for coordinators: they send it no stream
that it could not open. What is not a matter of a name alone is tried once, when the worker starts:
our stages and the encoders here, others' stages, which may hang or crash, in another process."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from fractions import Fraction

from streamgen import plugins
from streamgen.config import cache_dir
from streamgen.control.placement.parts import MOST_PARTS, Parts, parts
from streamgen.control.probes import ask
from streamgen.encode.rungs import FORMATS, Encoding, PictureFormat, PlannedRung
from streamgen.errors import ConfigError, EncodeError, ModelError
from streamgen.protocols import Mode

_WIDTH_PX, _HEIGHT_PX = 128, 72
log = logging.getLogger("streamgen.node")


class Outfit:
    """On one thread."""

    def __init__(self, tried: Parts | None) -> None:
        """`tried`: stages and codecs; None: nobody knows."""
        self._tried = tried
        self._manifests: list[str] | None = None
        self._models: Parts = frozenset()

    @classmethod
    def tried(cls) -> Outfit:
        """Takes a second or so."""
        ours = {one.name for one in plugins.stage_plugins() if one.ours}
        stages: Iterable[str] | None = loading(ours)
        if set(plugins.stage_names()) - ours:
            [answer] = ask(("stages",))
            stages = json.loads(answer.detail) if answer.works else None
            if not answer.works:
                log.warning("takes any pipeline, as plugins cannot be tried: %s", answer.detail)
        return cls(None if stages is None else parts("stage", stages) | parts("codec", codecs()))

    def parts(self) -> Parts | None:
        """With the models that are there now; cheap. None: it is not known, or there are too many
        to say."""
        manifests = sorted(map(str, (cache_dir() / "models").glob("*/manifest.toml")))
        if manifests != self._manifests:
            self._manifests = manifests
            try:
                self._models = parts("model", plugins.models())
            except ModelError as error:
                log.warning("%s", error)
        found = None if self._tried is None else self._tried | self._models
        return found if found is None or len(found) <= MOST_PARTS else None


def loading(names: Iterable[str]) -> list[str]:
    """The stages among these that can be loaded, in order; they are, from then on."""
    found = []
    for name in sorted(names):
        try:
            plugins.find_stage(name)
            found.append(name)
        except ConfigError as error:
            log.warning("%s", error)
    return found


def codecs() -> list[str]:
    """Those that an encoder opens for here, by libavcodec's names."""
    found = []
    picture = PictureFormat(_WIDTH_PX, _HEIGHT_PX, Fraction(1, 90_000), Fraction(30))
    for name, codec in FORMATS.items():
        rung = PlannedRung("probe", _WIDTH_PX, _HEIGHT_PX, 200_000, name)
        try:
            plugins.find("encoder", name)(rung, picture, Encoding(), mode=Mode.LIVE, threads=1)
            found.append(codec)
        except (ConfigError, EncodeError) as error:
            log.warning("encodes no %s: %s", codec, error)
    return found
