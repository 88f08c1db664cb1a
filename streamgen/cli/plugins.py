"""`streamgen plugins`: which stages are installed, by whom, and whether they keep the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import typer
import yaml

from streamgen.cli.listing import show
from streamgen.errors import ConfigError, StreamGenError
from streamgen.graph.spec import NodeSpec
from streamgen.media.port import Contract
from streamgen.plugins import StagePlugin, find_stage, stage_plugins
from streamgen.testing.watch import Report, watched

app = typer.Typer(
    help="List the stages that are installed, and check those of a package.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
JSON = typer.Option(False, "--json", help="Print JSON.")


@app.command("list")
def list_all(as_json: bool = JSON) -> None:
    """Every stage: ours and those of other packages, each with the reason if it is broken.

    Stages of other packages are loaded in processes of their own, so that one which crashes or
    hangs is a line of the list.
    """
    rows = [_row(plugin) for plugin in stage_plugins()]
    columns = ["name", "package", "version", "isolation", "takes", "gives", "state"]
    show(rows, columns, as_json=as_json)


def _row(plugin: StagePlugin) -> dict[str, Any]:
    report = _ours(plugin.name) if plugin.ours else _loaded(plugin.name)
    about = report.figures
    return {
        "name": plugin.name,
        "package": plugin.package,
        "version": plugin.version,
        "isolation": NodeSpec.model_fields["isolation"].default,
        "takes": _ports(about.get("inputs", {})),
        "gives": _ports(about.get("outputs", {})),
        "state": "; ".join(["broken: " + said for said in report.broken]) or "fine",
        "broken": bool(report.broken),
        "inputs": about.get("inputs", {}),
        "outputs": about.get("outputs", {}),
    }


def _loaded(name: str) -> Report:
    """Of somebody else's stage, loaded in a process of its own."""
    if any(one.ours for one in stage_plugins() if one.name == name):
        return Report(name, broken=["streamgen's own stage of this name is used instead"])
    return watched(name, only_load=True, step_s=20)


def _ports(ports: dict[str, str]) -> str:
    return ", ".join(name if name == port else f"{name}: {port}" for name, port in ports.items())


def _ours(name: str) -> Report:
    """Without a process: it is part of what is running."""
    report = Report(name)
    try:
        contract = Contract.of(find_stage(name))
    except StreamGenError as error:
        report.broken.append(str(error))
        return report
    report.figures = {
        "inputs": {port: str(one) for port, one in contract.inputs.items()},
        "outputs": {port: str(one) for port, one in contract.outputs.items()},
    }
    return report


@app.command()
def check(
    name: str = typer.Argument(..., help="A stage, or a package with stages."),
    overrides: list[str] = typer.Option(
        [], "--set", help="A parameter to check it with: name=value, or stage.name=value."
    ),
    timeout_s: float = typer.Option(60.0, "--timeout", help="Seconds until a step is a hang."),
    as_json: bool = JSON,
) -> None:
    """Run stages on synthetic pictures, each in a process of its own, and say what they break.

    Exit status 1 if anything is broken, 2 if a stage needs parameters that were not given.
    """
    stages = _meant(name)
    reports = []
    for stage in stages:
        report = watched(stage, _params(stage, stages, overrides), step_s=timeout_s)
        reports.append(report)
        if not as_json:
            typer.echo("\n".join(_told(report)))
    if as_json:
        typer.echo(json.dumps([_as_row(report) for report in reports], indent=2))
    if any(report.broken for report in reports):
        raise typer.Exit(1)
    if any(report.needs for report in reports):
        raise typer.Exit(2)


def _meant(name: str) -> list[str]:
    """The stages of a package, or one stage. Raises `ConfigError`."""
    plugins = stage_plugins()
    plain = _plain(name)
    stages = sorted({one.name for one in plugins if _plain(one.package) == plain})
    if any(one.name == name for one in plugins):
        return [name]
    if not stages:
        packages = sorted({one.package for one in plugins})
        raise ConfigError(
            f"no stage and no package with stages is called '{name}' "
            f"(packages: {', '.join(packages)}; 'streamgen plugins list' shows their stages)"
        )
    return stages


def _plain(package: str) -> str:
    """A distribution's name as installers compare it."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _params(stage: str, stages: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """The parameters given for one stage. Raises `ConfigError`."""
    params = {}
    for override in overrides:
        target, equals, text = override.partition("=")
        owner, dot, key = target.partition(".")
        if not equals or not (key if dot else owner):
            raise ConfigError(f"--set takes name=value or stage.name=value, got '{override}'")
        if dot and owner not in stages:
            raise ConfigError(f"--set {target}: no stage '{owner}' is checked here")
        if not dot or owner == stage:
            try:
                params[key if dot else owner] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ConfigError(f"--set {target}: not a value: '{text}'") from error
    return params


def _told(report: Report) -> list[str]:
    about = report.figures
    lines = [f"{report.stage}: {report.state}"]
    if "inputs" in about:
        late = f", {about['latency']} frames late" if about["latency"] else ""
        lines.append(
            f"  takes {_ports(about['inputs'])}; gives {_ports(about['outputs'])}; "
            f"state {about['state']}{late}"
        )
    if "ms_720p" in about:
        lines.append(f"  {about['ms_720p']:g} ms for a 720p picture")
    if report.needs:
        lines.append(f"  it needs parameters, to be given with --set: {report.needs}")
    lines += [f"  broken: {said}" for said in report.broken]
    lines += [f"  note: {said}" for said in report.notes]
    return lines


def _as_row(report: Report) -> dict[str, Any]:
    return {
        "name": report.stage,
        "fine": report.state == "fine",
        "broken": report.broken,
        "notes": report.notes,
        **report.figures,
    }
