"""A Dask cluster to run the cells on, through joblib's backend for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cluster(scheduler: str | None) -> Iterator[None]:
    """Let joblib's calls inside use the Dask cluster of that address; None changes nothing.

    Raises
    ------
    ImportError
        If Dask's scheduler is not installed.
    ValueError
        If nothing answers at the address.
    """
    if scheduler is None:
        yield
        return
    from joblib import parallel_config

    with _client(scheduler), parallel_config("dask"):
        yield


def _client(scheduler: str) -> Any:
    try:
        import dask as _  # noqa: F401
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "a scheduler needs dask and distributed, which are not installed; install them with: "
            'pip install "skdidicm[study]"'
        ) from error
    try:
        return Client(scheduler)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"scheduler is {scheduler!r}, where no Dask scheduler answers; expected an address "
            "such as tcp://HOST:8786, which dask-scheduler prints when it starts."
        ) from error
