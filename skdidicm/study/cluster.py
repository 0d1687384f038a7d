"""Run cells on a Dask cluster, through joblib's Dask backend."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cluster(scheduler: str | None) -> Iterator[None]:
    """Let joblib use the Dask cluster at an address inside the context; None changes nothing.

    Raises
    ------
    ImportError
        If Dask or its scheduler is not installed.
    ValueError
        If no scheduler answers at the address.
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
    client = Client.__new__(Client)  # kept, so that it can be closed if it finds no scheduler
    try:
        Client.__init__(client, scheduler)
    except (OSError, ValueError) as error:
        # If it were closed when it is collected, that might be within the start of another client,
        # for whose lock it would wait forever.
        client.close()
        raise ValueError(
            f"scheduler is {scheduler!r}, where no Dask scheduler answers; expected an address "
            "such as tcp://HOST:8786, which dask-scheduler prints when it starts."
        ) from error
    return client
