"""Muon for the matrices of a network, AdamW for the rest of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

FIRST_AND_LAST = ("conv_in", "conv_out", "time_embedding")


class MuonWithAdamW:
    """Muon (Jordan et al. 2024, `torch.optim.Muon`) for inner convolutions and linear layers, AdamW for what is left.

    Muon takes matrices only: a convolution's weight is one of shape (out, height * width * in), seen through a view of
    the same memory. Its updates are scaled to the size of AdamW's, so that both share a learning rate. First and last
    layers, biases and norms get AdamW.
    """

    def __init__(
        self, model: nn.Module, learning_rate: float, first_and_last: tuple[str, ...] = FIRST_AND_LAST
    ) -> None:
        self._weights: dict[str, nn.Parameter] = {}
        rest: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            inner = parameter.ndim > 1 and not name.startswith(first_and_last)
            (self._weights if inner else rest)[name] = parameter
        self._matrices = {name: nn.Parameter(_matrix(weight.data)) for name, weight in self._weights.items()}
        self._rest = rest
        self.muon = torch.optim.Muon(
            self._matrices.values(), learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        )
        self.adamw = torch.optim.AdamW(rest.values(), learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        self._fill_state()

    def set_learning_rate(self, value: float) -> None:
        """Both optimizers step with `value` from now on."""
        for optimizer in (self.muon, self.adamw):
            for group in optimizer.param_groups:
                group["lr"] = value

    def step(self) -> None:
        """Update the model from the gradients its parameters hold, and drop these."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                self._matrices[name].grad = _matrix(weight.grad)
            weight.grad = None
        self.muon.step()  # type: ignore[no-untyped-call]
        self.adamw.step()
        self.muon.zero_grad(set_to_none=True)
        self.adamw.zero_grad(set_to_none=True)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of all that a resumed run needs, to be read or copied into."""
        for name, matrix in self._matrices.items():
            yield f"momentum_buffer.{name}", self.muon.state[matrix]["momentum_buffer"]
        for name, parameter in self._rest.items():
            for moment in ("exp_avg", "exp_avg_sq", "step"):
                yield f"{moment}.{name}", self.adamw.state[parameter][moment]

    def _fill_state(self) -> None:
        for matrix in self._matrices.values():
            self.muon.state[matrix] = {"momentum_buffer": torch.zeros_like(matrix)}
        for parameter in self._rest.values():
            self.adamw.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def _matrix(tensor: torch.Tensor) -> torch.Tensor:
    """(out, in) of a linear layer as it is; (out, in, height, width) as (out, height * width * in), without a copy."""
    if tensor.ndim == 2:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1)
