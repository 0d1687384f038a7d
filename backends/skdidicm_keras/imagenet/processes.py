"""The devices of a run: one, or several that share every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from skdidicm_keras import engine
from skdidicm_keras.device import resolve_device


@dataclass(frozen=True)
class KerasCommunicator:
    """The only process, and its devices.

    With several devices, `distribution` is Keras's: the weights are replicated, and every device
    computes a part of the rows.
    """

    device: str
    devices: int = 1
    distribution: Any = None
    rank: int = 0
    world: int = 1
    first: bool = True

    def send(self, rows: NDArray[Any]) -> Any:
        """Return host rows as a tensor on the device, or split over the devices."""
        if self.distribution is None:
            return ops.convert_to_tensor(rows)
        layout = self.distribution.get_data_layout(rows.shape)
        return keras.distribution.distribute_tensor(rows, layout)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes."""
        return [value]

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the elementwise sum over all processes."""
        return np.asarray(values)

    def wait(self) -> None:
        """Block until all processes have called this."""


@contextmanager
def joined(device: str) -> Iterator[KerasCommunicator]:
    """Compute on one device, or on all of its kind if no number is given and Keras supports it.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    chosen = resolve_device(device)
    found = _alike(chosen) if ":" not in device else []
    if len(found) < 2:
        with engine.scope(chosen):
            yield KerasCommunicator(chosen)
        return
    distribution = keras.distribution.DataParallel(devices=found)
    with distribution.scope():
        yield KerasCommunicator(chosen, len(found), distribution)


def check_alone() -> None:
    """Check that torchrun has not started several processes.

    Raises
    ------
    ValueError
        If it has.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if world != "1":
        raise ValueError(
            f"--backend keras runs in one process, which uses all its devices, but WORLD_SIZE is "
            f"{world}; start it without torchrun."
        )


def _alike(device: str) -> list[str]:
    """Return the names of all devices of a kind, if Keras can distribute over them."""
    if engine.NAME != "jax":
        return []
    return list(keras.distribution.list_devices(device.partition(":")[0]))
