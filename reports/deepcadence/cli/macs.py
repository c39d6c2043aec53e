"""`deepcadence macs`: what a call costs, whole and at each cut."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from deepcadence.cli.command import Debug, Quiet
from deepcadence.cli.console import print_json, stdout
from deepcadence.cli.options import Model
from deepcadence.cli.progress import busy

if TYPE_CHECKING:
    from rich.table import Table

    from deepcadence.probe import Macs


class Counter(StrEnum):
    """How multiply-accumulates are counted."""

    exact = "exact"
    paper = "paper"


def macs(
    model: Model,
    counter: Annotated[
        Counter,
        typer.Option(
            "--counter", help="exact: all matrix products, attention too. paper: the rules of DeepCache's tables."
        ),
    ] = Counter.exact,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: MACs as integers.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print what a call of the denoiser costs: whole, and partial at each cut.

    Nothing is run and no weights are read: a folder that holds only a config.json will do.
    Figures are multiply-accumulates (1 GMAC = 10^9) per sample and call; classifier-free guidance doubles them.
    Of a U-Net the last column is the layer from which a partial call runs again, of a transformer the blocks that it
    leaves out.

    Example:  deepcadence macs ./stable-diffusion-v1-5 --json
    """
    from deepcadence.cli.workload import quiet_libraries
    from deepcadence.probe import count_macs, load_denoiser_config

    with busy(f"counting the MACs of {model}"):
        quiet_libraries()
        counted = count_macs(load_denoiser_config(model), counter=counter.value)
    if as_json:
        print_json(_record(model, counted))
    else:
        stdout().print(_table(model, counted))


def _record(model: str, counted: Macs) -> dict[str, object]:
    return {
        "model": model,
        "counter": counted.counter,
        "sample_shape": list(counted.sample_shape),
        "full_macs": counted.full,
        "partial_macs": {str(cut): macs for cut, macs in sorted(counted.partial.items())},
        "cuts": {str(cut): layer for cut, layer in sorted(counted.layers.items())},
    }


def _table(model: str, counted: Macs) -> Table:
    from rich.table import Table

    shape = "x".join(map(str, counted.sample_shape))
    table = Table(title=f"{model}: GMACs per sample and call at {shape} ({counted.counter} count)", title_style="bold")
    table.add_column("call")
    table.add_column("GMACs", justify="right")
    table.add_column("of full", justify="right")
    table.add_column("leaves out" if any(" to " in layer for layer in counted.layers.values()) else "runs again from")
    table.add_row("full", f"{counted.full / 1e9:.4f}", "100 %", "")
    for cut, macs in sorted(counted.partial.items()):
        table.add_row(
            f"partial, cut {cut}", f"{macs / 1e9:.4f}", f"{100 * macs / counted.full:.1f} %", counted.layers[cut]
        )
    return table
