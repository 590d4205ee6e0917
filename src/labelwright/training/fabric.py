"""Several processes and mixed precision through Lightning Fabric. Imported only when a recipe asks for either.

Fabric starts the processes, places them and supplies the arithmetic; gradients are averaged here,
after the backward pass, in one all-reduce over all parameters. That costs the overlap of
communication with computation that a wrapped module has, and buys what learners need: a step may
call parts of a network, several networks, or none for some parameters, and all processes still
agree.

With `devices` > 1 Fabric starts the program again, once a device: everything before and after
training runs in every process, and it shares out the cores' threads unless ``OMP_NUM_THREADS`` is set. Ask :func:`labelwright.training.engine.is_first` before writing files.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.errors import ResourceError, require
from labelwright.training.engine import Engine

__all__ = ["FabricEngine"]


class FabricEngine(Engine):
    """`devices` processes, one a device, in `precision`.

    Raises
    ------
    ResourceError
        If there are fewer devices, they cannot do the arithmetic, or the processes cannot be started.
    MissingExtra
        If Lightning is not installed.
    """

    def __init__(self, device: torch.device, *, devices: int, precision: str) -> None:
        if device.type == "cuda" and devices > torch.cuda.device_count():
            raise ResourceError(f"{devices} GPUs were asked for; there are {torch.cuda.device_count()}.", hint="Lower devices.")
        if device.type == "mps" and devices > 1:
            raise ResourceError("Only one 'mps' device exists.", hint="Use devices=1, or device='cpu'.")
        if device.type == "cpu" and precision == "16-mixed":
            raise ResourceError("precision '16-mixed' needs a GPU.", hint="Use bf16-mixed or 32 on the CPU.")
        fabric = require("lightning.fabric", extra="distributed", feature="Training on several devices or in mixed precision")
        which: Any = [device.index] if devices == 1 and device.index is not None and device.type == "cuda" else devices
        threads = torch.get_num_threads()
        try:
            self.fabric = fabric.Fabric(
                accelerator=device.type, devices=which, strategy="ddp" if devices > 1 else "auto", precision=precision
            )
            self.fabric.launch()
        except (RuntimeError, ValueError) as err:
            raise ResourceError(f"{devices} processes on {device.type} cannot be started: {err}") from err
        if devices == 1:
            torch.set_num_threads(threads)  # Fabric shares out the cores; alone, the caller's number stays
        super().__init__(self.fabric.device)
        self.rank, self.world = int(self.fabric.global_rank), int(self.fabric.world_size)

    def autocast(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.fabric.autocast()
        return context

    def backward(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        self.fabric.backward(loss)
        if self.world > 1:
            self._average_gradients([p for group in optimizer.param_groups for p in group["params"]])

    @torch.no_grad()
    def _average_gradients(self, parameters: list[Tensor]) -> None:
        """Mean over processes; a parameter without a gradient in every process keeps none, so that it is not decayed either."""
        present = [float(p.grad is not None) for p in parameters]
        flat = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
        total = self.sum(torch.cat([*flat, torch.tensor(present, device=self.device)]))
        *means, anywhere = total.split([p.numel() for p in parameters] + [len(parameters)])
        for parameter, mean, found in zip(parameters, means, (anywhere > 0).tolist(), strict=True):
            if found:
                parameter.grad = (mean / self.world).view_as(parameter)

    def clip(self, optimizer: torch.optim.Optimizer, norm: float) -> None:
        self.fabric.strategy.precision.unscale_gradients(optimizer)
        super().clip(optimizer, norm)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        self.fabric.strategy.optimizer_step(optimizer)

    def sum(self, value: Tensor) -> Tensor:
        if self.world == 1:
            return value
        total: Tensor = self.fabric.all_reduce(value.detach().clone().contiguous(), reduce_op="sum")
        return total

    def agree(self, value: float) -> float:
        return float(self.sum(torch.tensor(value if self.rank == 0 else 0.0, device=self.device, dtype=torch.float32)))

    @torch.no_grad()
    def broadcast(self, net: nn.Module) -> None:
        # the first process's tensors plus zeros: exact, and one collective is all this class needs
        for value in net.state_dict().values() if self.world > 1 else ():
            value.copy_(self.sum(value if self.rank == 0 else torch.zeros_like(value)))

    @torch.no_grad()
    def average_buffers(self, net: nn.Module) -> None:
        for value in net.buffers() if self.world > 1 else ():
            if value.is_floating_point():
                value.copy_(self.sum(value) / self.world)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.fabric.strategy.precision.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        self.fabric.strategy.precision.load_state_dict(state)
