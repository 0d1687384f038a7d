"""Device and number format of a network."""

import multiprocessing

import torch

from skdidicm.errors import reason

PRECISIONS = ("auto", "float32", "float64", "bfloat16")


def resolve_device(device: str) -> torch.device:
    """Return the torch device for a name; "auto" is the first of CUDA, MPS and CPU that works.

    Worker processes of joblib and multiprocessing are distributed over the CUDA devices.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not available.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", _worker_number() % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device is {device!r}, which torch cannot use here ({reason(error)}); expected "
            "'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or another device of this machine."
        ) from error
    return torch.device(device)


def resolve_precision(precision: str, device: torch.device, *, table: bool) -> str:
    """Return "float32", "float64" or "bfloat16" (autocast over float32 weights).

    "auto" is float64 for tables on a CPU, where networks are small and precision matters more than
    speed, bfloat16 for images on a GPU that supports it, and float32 otherwise.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {PRECISIONS}.")
    if precision != "auto":
        return precision
    if table:
        return "float64" if device.type == "cpu" else "float32"
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def _worker_number() -> int:
    """Return the index of a worker process, and 0 in the main process."""
    if multiprocessing.parent_process() is None:
        return 0
    identity = multiprocessing.current_process()._identity
    return int(identity[-1]) - 1 if identity else 0
