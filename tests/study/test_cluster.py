"""The cells of a study on a Dask cluster."""

import gc
import sys

import pytest

from skdidicm.study import Grid, cells, run
from skdidicm.study.cluster import cluster

pytest.importorskip("torch")

GRID = Grid(data=("wine",), seeds=(0,), methods=("didicm", "cross-entropy"))
QUICK = {"max_epochs": 2, "device": "cpu"}


def by_method(rows):
    """Return the rows in a fixed order, without what differs from run to run."""
    times = ("fit_seconds", "predict_seconds")
    kept = ({k: v for k, v in row.items() if k not in times} for row in rows)
    return sorted(kept, key=lambda row: row["method"])


def test_a_dask_cluster_finds_what_one_process_finds(tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = run(cells(GRID), tmp_path / "serial" / "cells.jsonl", settings=QUICK)
    path, ran = tmp_path / "cells.jsonl", []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as local:
        with cluster(local.scheduler_address):
            found = run(cells(GRID), path, jobs=2, settings=QUICK)
        for worker in local.workers.values():
            ran += [change for change in worker.state.log if "measure" in str(change)]
    assert by_method(found) == by_method(expected)
    assert ran, "no worker had a cell"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere"])
def test_an_address_without_a_scheduler_is_one_sentence(address):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ValueError, match=f"scheduler is '{address}', where no Dask scheduler"),
        cluster(address),
    ):
        pass


def test_a_client_that_finds_no_scheduler_is_closed_before_the_next_starts():
    """Closed when it is collected, it might wait for a lock of a client that is starting."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ValueError, match="no Dask scheduler") as raised,
        cluster("nowhere"),
    ):
        pass
    assert raised.value.__cause__ is not None  # whose frames keep the client alive
    clients = [o for o in gc.get_objects() if type(o) is distributed.Client]
    assert {client.status for client in clients} <= {"closed"}


def test_a_cluster_without_dask_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="needs dask and distributed"), cluster("tcp://a:1"):
        pass
