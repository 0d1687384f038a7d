"""Processes that torchrun has started, joined into a group."""

import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from skdidicm_torch.device import resolve_device


@dataclass(frozen=True)
class TorchCommunicator:
    """One process of a torch.distributed group, and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages for all."""
        return self.rank == 0

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the elementwise sum over all processes."""
        if self.world == 1:
            return values
        total = torch.tensor(values, device=self.device)
        distributed.all_reduce(total)
        return total.cpu().numpy()

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, value)
        return found

    def share_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Block until all processes have called this."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[TorchCommunicator]:
    """Join the process group, or run alone; several runs may join one after another."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = resolve_device(_local(device) if world > 1 else device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield TorchCommunicator(0, 1, chosen)
        return
    store, rank, world = _meeting()
    distributed.init_process_group(
        "nccl" if chosen.type == "cuda" else "gloo",
        # With the keys of an earlier group, processes would find its closed connections.
        store=PrefixStore(f"skdidicm {next(_joins)}", store),
        rank=rank,
        world_size=world,
    )
    try:
        yield TorchCommunicator(distributed.get_rank(), world, chosen)
    finally:
        distributed.destroy_process_group()


_joins = itertools.count()


@functools.cache
def _meeting() -> tuple[Any, int, int]:
    """Return the rendezvous store, this process's rank, and the number of processes."""
    found: tuple[Any, int, int] = next(iter(rendezvous("env://")))
    return found


def _local(device: str) -> str:
    """Return this process's GPU if the device is a GPU."""
    wanted = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if wanted else device
