"""A rank of `test_ranks.py`: torchrun --nproc-per-node 2 -m tests.cli.ranks, which writes RANK.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from deepcadence.search import DistributionMetric, SearchError

METRICS = ("fid", "kid")


class Channels(torch.nn.Module):
    """Mean and spread of each channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = images.float().flatten(2)
        return torch.cat([values.mean(2), values.std(2)], dim=1)


def images(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(40, 3, 1, 1, generator=generator) * torch.rand(40, 3, 8, 8, generator=generator)


def values(part: slice = slice(None)) -> dict[str, Any]:
    """FID and KID of two sets, of which this process adds a part."""
    found = {}
    for name in METRICS:
        metric = DistributionMetric(name, Channels(), subset_size=20)  # type: ignore[arg-type]
        metric.add(images(0)[part], real=True)
        metric.add(images(1)[part] ** 2, real=False)
        value = metric.compute()
        found[name] = [value.value, value.std or 0.0, value.real_samples, value.generated_samples]
    return found


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    Path(f"{rank}.json").write_text(json.dumps(values(slice(20 * rank, 20 * rank + 20))))
    idle = DistributionMetric("fid", Channels())
    idle.add(images(0)[:20], real=False)
    if rank == 0:
        idle.add(images(0)[:20], real=True)
    try:
        idle.compute()
    except SearchError as error:
        if rank == 0:
            Path("error.txt").write_text(str(error))
    distributed.destroy_process_group()
