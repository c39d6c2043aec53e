"""`deepcadence doctor`: is everything there, and do the pieces fit?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet
from deepcadence.cli.console import print_json, stdout, styled
from deepcadence.cli.progress import busy

if TYPE_CHECKING:
    from deepcadence.cli.checkup import Finding

_STYLES = {"ok": "green", "note": "yellow", "bad": "bold red"}


def doctor(
    model: Annotated[
        str,
        typer.Argument(metavar="[MODEL]", help="The model to try: a folder, an id on the hub, or `bundled`."),
    ] = "bundled",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what is installed, on which device it runs and with how much memory, and whether the pieces fit.

    They fit if each package is at least as new as deepcadence asks for, and the runtime can split the model: the
    split network must give what the model itself gives. That is how a diffusers that is too new shows.
    Exit code 1 if something is bad. Nothing is downloaded but a MODEL that is on the hub.

    Example:  deepcadence doctor --json
    """
    from deepcadence.cli.checkup import check_up

    with busy("looking around"):
        findings = check_up(model)
    if as_json:
        print_json(_record(findings))
    else:
        _print(findings)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def _record(findings: list[Finding]) -> dict[str, Any]:
    rows = [{"part": f.part, "name": f.name, "state": f.state, "found": f.found} for f in findings]
    return {"ok": all(f.state != "bad" for f in findings), "findings": rows}


def _print(findings: list[Finding]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for column in ("part", "name", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("found", overflow="fold")
    last = ""
    for finding in findings:
        part = styled(finding.part, "bold") if finding.part != last else ""
        table.add_row(part, finding.name, styled(finding.state, _STYLES[finding.state]), finding.found)
        last = finding.part
    stdout().print(table)
