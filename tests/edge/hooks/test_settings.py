"""Hooks as the file has them; what is secret of them stands nowhere else."""

from __future__ import annotations

import json
import logging

import pytest

pytest.importorskip("h11", reason="h11 is not installed")

from streamgen.config import check
from streamgen.errors import ConfigError
from streamgen.telemetry import Metrics
from streamgen_edge.configuring import refuse_unusable
from streamgen_edge.hooks.event import Kind
from streamgen_edge.settings import Server, load_server
from tests.edge.hooks.scene import SECRET, SECRETS, hook, scene, to
from tests.edge.outbound.servers import (
    Behave,
    answers,
    reset,
    silence,
)
from tests.edge.test_link import until
from tests.edge.webrtc.peers import looped


@pytest.mark.parametrize("behave", [silence, reset, answers(403), answers(500), to("http://[")])
@looped
async def test_no_secret_is_in_logs_metrics_or_the_api(
    behave: Behave, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with scene(behave, waits_s=(0.01,)) as (made, service):
        made.begin()
        await until(lambda: service.heard)
        metrics = Metrics()
        metrics.add("", made.telemetry)
        told_of = json.dumps(made.hooks.facts()) + repr(made.hooks.facts())
        told_of += metrics.text().decode() + repr(hook(service))
    told_of += caplog.text
    assert f"http://127.0.0.1:{service.port}" in told_of
    assert not [secret for secret in SECRETS if secret in told_of]


def test_a_wrong_hook_stops_the_start_and_is_not_repeated() -> None:
    good = {"url": "https://hooks.example/in", "secret": SECRET}
    for wrong, reason in (
        ({"url": "https://hooks.example/in"}, "missing key 'hooks.one.secret'"),
        ({**good, "url": "https://a:c4nary@hooks.example"}, "hooks.one.url: no names"),
        ({**good, "secret": "c4nary"}, "hooks.one.secret: a secret is 24 to 64"),
        ({**good, "events": ["c4nary"]}, "hooks.one.events"),
        ({**good, "events": []}, "hooks.one.events"),
    ):
        with pytest.raises(ConfigError) as caught:
            check(Server, {"hooks": {"one": wrong}})
        assert reason in str(caught.value) and "c4nary" not in str(caught.value)
    for hooks in ({"a b": good}, {f"n{number}": good for number in range(17)}):
        with pytest.raises(ConfigError):
            check(Server, {"hooks": hooks})
    assert check(Server, {"hooks": {"one": good}}).hooks["one"].events == tuple(Kind)


def test_a_hook_inside_is_refused_before_anything_happens() -> None:
    server = Server.model_validate(
        {"hooks": {"one": {"url": "http://10.0.0.7/c4nary", "secret": SECRET}}}
    )
    with pytest.raises(ConfigError, match=r"hooks\.one: 10\.0\.0\.7 is a private address"):
        refuse_unusable(server)


def test_a_secret_may_come_from_the_environment_alone() -> None:
    server = load_server(
        None,
        {
            "STREAMGEN_HOOKS__ONE__URL": "https://hooks.example/in",
            "STREAMGEN_HOOKS__ONE__SECRET": SECRET,
        },
    )
    assert server.hooks["one"].secret == SECRET
