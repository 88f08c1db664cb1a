"""What docs/serving.md tells people to write is what the server takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from typer.main import get_command
from typer.testing import CliRunner

pytest.importorskip("zmq", reason="pyzmq is not installed")

from streamgen.cli import app
from streamgen_edge.settings import Server, StreamLimits, StreamSettings, load_server
from tests.test_docs import DOCS, blocks

PAGES = [
    *("serving.md", "security.md", "publishing.md", "watching.md"),
    *("nat.md", "proxies.md", "migrating.md", "hooks.md"),
]
TEXT = (DOCS / "serving.md").read_text(encoding="utf-8")


def commands() -> Iterator[list[str]]:
    for block in blocks("serving.md"):
        if block.language == "bash":
            for line in block.text.splitlines():
                if line.startswith("streamgen "):
                    yield shlex.split(line)[1:]


def written() -> list[str]:
    return [block.text for block in blocks("serving.md") if block.language == "yaml"]


def test_the_files_of_the_page_are_taken(tmp_path: Path) -> None:
    whole, link = written()
    for text in (whole, link, whole.replace("workers: 2 ", "") + link):
        path = tmp_path / "streamgen.yaml"
        path.write_text(text)
        server = load_server(path, {})
    assert server.link is not None and server.workers == 0
    assert server.stream("live-1") is not None and server.stream("other") is None


def test_every_key_is_in_the_file_of_the_page_or_told_of() -> None:
    value = {**yaml.safe_load(written()[0]), **yaml.safe_load(written()[1])}

    def look(model: type[BaseModel], here: dict[str, object]) -> None:
        for name, field in model.model_fields.items():
            if name not in here:
                assert f"`{name}" in TEXT or f".{name}`" in TEXT or f"{name}: 0" in TEXT, name
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                look(inner, here.get(name, {}))  # type: ignore[arg-type]

    look(Server, value)
    [stream] = value["streams"].values()
    look(StreamSettings, stream)
    look(StreamLimits, stream["limits"])


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_the_commands_of_the_page_have_these_options(command: list[str]) -> None:
    known = get_command(app)
    context = known.make_context("streamgen", [], resilient_parsing=True)
    found = known.get_command(context, command[0])  # type: ignore[attr-defined]
    if command[1] == "check":
        found = found.get_command(context, "check")
    options = {option for one in found.params for option in one.opts}
    assert {word for word in command if word.startswith("--")} <= options


def test_a_key_is_made_as_the_page_says(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["worker", "--new-key", str(tmp_path / "edge.key")])
    assert told.exit_code == 0 and re.fullmatch(r"[0-9a-f]{64}\n", told.output)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short_enough_to_be_read(page: str) -> None:
    assert len((DOCS / page).read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES[1:])
def test_what_the_other_pages_write_into_the_file_is_taken(page: str, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            path = tmp_path / "streamgen.yaml"
            path.write_text(block.text)
            assert load_server(path, {})


@pytest.mark.parametrize("page", PAGES)
def test_every_key_that_a_page_speaks_of_is_one(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    sections = {
        name: field.annotation
        for name, field in Server.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    for section, key in re.findall(r"`(\w+)\.(\w+)[`:]", text):
        if section == "limits" and key in StreamLimits.model_fields:
            continue
        if section in sections:
            assert key in sections[section].model_fields, f"{section}.{key}"  # type: ignore[union-attr]
