"""Put the figures of evaluate.py into the model cards, between the two `figures` marks.

python evaluate.py ... > figures.jsonl; python cards.py figures.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CARDS = Path(__file__).parents[1] / "cards"
BEGIN, END = "<!-- figures: begin (recipes/cards.py) -->", "<!-- figures: end -->"
PRECISIONS = ("fp32", "int8")
Figures = dict[str, Any]


def _table(rows: list[tuple[str, ...]], head: tuple[str, ...]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _speed(figures: Figures, what: str) -> tuple[str, ...]:
    cells = [
        f"{figures[p]['speed']['best_ms']:.1f} ms ({figures[p]['speed']['cpu_ms']:.0f} CPU-ms)"
        for p in PRECISIONS
    ]
    return (what, *cells)


def _style(figures: Figures) -> str:
    def row(what: str, cell: Any) -> tuple[str, ...]:
        return (what, *(cell(figures[p]) for p in PRECISIONS))

    rows = [
        row(
            "PSNR to the teacher, mean of 10 held-out pictures", lambda f: f"{f['teacher']:.2f} dB"
        ),
        row("PSNR to raw MicroAST, frozen statistics", lambda f: f"{f['raw']:.2f} dB"),
        row("mean change of the held-out pictures (0..1)", lambda f: f"{f['change']:.3f}"),
        row("pattern of 4 or 8 px, luma steps of 255", lambda f: f"{f['grid']:.2f}"),
    ]
    for kind, file in (("camera", "nasa_13013"), ("animation", "bigbuckbunny")):
        rows.append(
            row(
                f"warp error / the input's own, {file}",
                lambda f, k=kind: f"{f[k]['warp']:.4f} / {f[k]['own']:.4f} = {f[k]['ratio']:.2f}",
            )
        )
        rows.append(row(f"mean change, {file}", lambda f, k=kind: f"{f[k]['change']:.3f}"))
    rows.append(_speed(figures, "one 1280x720 frame, two threads"))
    table = _table(rows, ("figure", *PRECISIONS))
    each = ", ".join(f"{k} {v:.1f}" for k, v in figures["int8"]["each"].items())
    return f"{table}\n\nPSNR to the teacher picture by picture (int8, dB): {each}."


def _enlarger(figures: Figures) -> str:
    rows = [
        ("luma PSNR over bicubic", *(f"{figures[p]['gain']:+.2f} dB" for p in PRECISIONS)),
        _speed(figures, "640x360 to 1280x720, two threads"),
    ]
    each = [
        (name, f"{plain:.2f}", f"{figures['fp32']['each'][name][1]:.2f}", f"{ours:.2f}")
        for name, (plain, ours) in figures["int8"]["each"].items()
    ]
    first = _table(rows, ("figure", *PRECISIONS))
    return f"{first}\n\n{_table(each, ('picture', 'bicubic', 'fp32', 'int8'))}"


def _restorer(figures: Figures) -> str:
    rates = [key for key in figures["int8"] if key != "speed"]
    rows = [
        (
            f"x264 {rate}: y / u / v",
            *(" / ".join(f"{v:+.2f}" for v in figures[p][rate].values()) for p in PRECISIONS),
        )
        for rate in rates
    ]
    rows.append(_speed(figures, "one 1280x720 frame, two threads"))
    return _table(rows, ("PSNR in dB over the coded picture", *PRECISIONS))


def block(figures: Figures) -> str:
    """The tables of one model in Markdown."""
    if "teacher" in figures["fp32"]:
        return _style(figures)
    return _enlarger(figures) if "gain" in figures["fp32"] else _restorer(figures)


def main(path: Path) -> None:
    cards: dict[Path, list[str]] = {}
    for line in path.read_text().splitlines():
        figures = json.loads(line)
        name = figures["name"]
        title = f"### {name}: {figures['parameters']:,} parameters"
        card = CARDS / f"{name.removesuffix('-large')}.md"
        cards.setdefault(card, []).append(f"{title}\n\n{block(figures)}")
    for card, blocks in cards.items():
        before, _, rest = card.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        joined = "\n\n".join(blocks)
        card.write_text(f"{before}{BEGIN}\n{joined}\n{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
