"""Device and number format of a network."""

import multiprocessing
import re

from skdidicm_keras import engine

PRECISIONS = ("auto", "float32", "float64", "bfloat16")

_KINDS = {"cpu": "cpu", "gpu": "gpu", "cuda": "gpu", "tpu": "tpu", "mps": "mps"}


def resolve_device(device: str) -> str:
    """Return Keras's name of a device, such as "gpu:0"; "auto" is a GPU or TPU if there is one.

    Worker processes of joblib and multiprocessing are distributed over the GPUs.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not available.
    """
    if device == "auto":
        for kind in ("gpu", "tpu", "mps"):
            count = engine.device_count(kind)
            if count:
                return f"{kind}:{_worker_number() % count}"
        return "cpu"
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", device)
    found = _KINDS.get(match[1]) if match else None
    number = int(match[2] or 0) if match else 0
    if found is None or number >= engine.device_count(found):
        raise ValueError(
            f"device is {device!r}, which Keras cannot use here with {engine.NAME}; expected "
            "'auto', 'cpu', 'gpu', 'gpu:1' or another device of this machine."
        )
    # With a number, "cpu:0", Keras cannot make integer variables on torch.
    return "cpu" if found == "cpu" else f"{found}:{number}"


def resolve_precision(precision: str, device: str, *, table: bool) -> str:
    """Return "float32", "float64" or "bfloat16" (mixed with float32 weights).

    "auto" is float64 for tables on a CPU, where networks are small and precision matters more than
    speed, bfloat16 for images on a TPU, and float32 otherwise.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {PRECISIONS}.")
    if precision != "auto":
        return precision
    kind = device.partition(":")[0]
    if table:
        return "float64" if kind == "cpu" else "float32"
    return "bfloat16" if kind == "tpu" else "float32"


def _worker_number() -> int:
    """Return the index of a worker process, and 0 in the main process."""
    if multiprocessing.parent_process() is None:
        return 0
    identity = multiprocessing.current_process()._identity
    return int(identity[-1]) - 1 if identity else 0
