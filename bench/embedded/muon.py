"""Muon: an optimizer with orthogonalised momentum, for matrices and for convolution kernels reshaped to matrices.

`torch.optim.Muon` takes only two-dimensional parameters, but most parameters of a VAE are five-dimensional kernels.
Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised over `[out, everything else]`. `lr` is the spectral norm of the update."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(buffer, group["momentum"]).flatten(1))
                rows, columns = update.shape
                p.add_(update.view_as(p), alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Returns roughly the nearest semi-orthogonal matrix: all singular values are between about 0.7 and 1.2."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Returns the parameters for Muon (hidden kernels and matrices), and all other parameters.

    The others are vectors, and layers that read or write data.
    """
    outer = ("conv_in", "decoder.conv_out", "quant_conv", "x_embedder", "proj_out.", "embed", "token")
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inner = [
        p.ndim >= 2 and "norm" not in name and ("blocks" in name or not any(part in name for part in outer))
        for name, p in named
    ]
    return [p for (_, p), i in zip(named, inner, strict=True) if i], [
        p for (_, p), i in zip(named, inner, strict=True) if not i
    ]
