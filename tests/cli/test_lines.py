from __future__ import annotations

from streamgen.cli.lines import one_line


def test_plain_text_stays_as_it_is() -> None:
    assert one_line("cannot read Größe 1.mp4: no such file") == (
        "cannot read Größe 1.mp4: no such file"
    )


def test_line_breaks_become_spaces_and_control_characters_visible() -> None:
    assert one_line("a\nb.mp4") == "a b.mp4"
    assert one_line("red \x1b[31m") == "red \\x1b[31m"
