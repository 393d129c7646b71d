"""`fastsketch doctor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import console, plain, progress_bar

if TYPE_CHECKING:
    from fastsketch.doctor import Report

COLORS = {"ok": "green", "missing": "yellow", "broken": "red"}


def command(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Time for five seconds.")] = True,
) -> None:
    """Look whether this machine can do all of it: every part does one tiny real thing."""
    from fastsketch.doctor import examine

    with progress_bar() as bar:
        bar.add_task("trying every part", total=None, note="")
        report = examine(probe=probe)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print(report)
    if not report.healthy:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    from rich.table import Table

    known = report.environment
    versions: dict[str, Any] = known["versions"]
    console.print(
        f"[bold]fastsketch {versions.get('fastsketch', '')}[/], Python {known['python']}, torch {versions.get('torch')}"
    )
    gpu = known["gpu"] and f"{known['gpu']['name']}, {known['gpu']['memory_gib']} GiB, CUDA {known['cuda']}"
    console.print(f"{plain(known['cpu'])}, {known['cores']} cores, {known['memory_gib']} GiB; GPU: {gpu or 'none'}")
    caches = "".join(f"; {name} in {plain(path)}" for name, path in report.caches.items())
    console.print(f"{report.free_gb:,.0f} GB free here{caches}\n", soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in report.findings:
        color = COLORS[finding.state]
        table.add_row(finding.name, f"[{color}]{finding.state}[/]", plain(finding.detail))
        if finding.remedy:
            table.add_row("", "", f"[dim]{plain(finding.remedy)}[/]")
    console.print(table)
    if report.speeds:
        console.print()
        for name, value in report.speeds.items():
            console.print(f"{value:>8,.6g}  {name}")
