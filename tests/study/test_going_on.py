"""Studies on other processes: on a Dask cluster, and in one that is killed and goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from skdidicm.saving.run_folder import RunFolderError
from skdidicm.study import Grid, cells, finished, run
from skdidicm.study.cluster import cluster

pytest.importorskip("torch")
pytestmark = pytest.mark.xdist_group("study")

GRID = Grid(data=("wine",), seeds=(0,), methods=("didicm", "cross-entropy"))
QUICK = {"max_epochs": 2, "device": "cpu"}
TIMES = ("fit_seconds", "predict_seconds")


def untimed(rows):
    """Return the rows by method without what differs from run to run."""
    kept = ({k: v for k, v in row.items() if k not in TIMES} for row in rows)
    return sorted(kept, key=lambda row: row["method"])


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    path = tmp_path_factory.mktemp("serial") / "cells.jsonl"
    return untimed(run(cells(GRID), path, settings=QUICK))


def test_a_dask_cluster_finds_what_one_process_finds(serial, tmp_path):
    distributed = pytest.importorskip("distributed")
    path, ran = tmp_path / "cells.jsonl", []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as local:
        with cluster(local.scheduler_address):
            found = run(cells(GRID), path, jobs=2, settings=QUICK)
        for worker in local.workers.values():
            ran += [change for change in worker.state.log if "measure" in str(change)]
    assert untimed(found) == serial
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


def test_a_cluster_without_dask_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="needs dask and distributed"), cluster("tcp://a:1"):
        pass


def test_a_running_study_keeps_others_out_and_a_killed_one_goes_on_to_the_same_rows(
    serial, tmp_path
):
    path = tmp_path / "cells.jsonl"
    command = [sys.executable, "-m", "skdidicm", "study", "--data", "wine", "--seeds", "50"]
    command += ["--epochs", "2", "--device", "cpu", "--output", str(tmp_path)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}  # as here: sums on two threads differ in last bits
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=env) as process:
        while not (path.is_file() and path.read_text().count("\n")):
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(RunFolderError, match=f"is being written by process {process.pid} on"):
            run(cells(GRID), path, settings=QUICK)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = finished(path)
    assert 1 <= len(before) < 100
    path.write_text(path.read_text().splitlines()[0] + "\n")  # all but the first are to be run
    rows = run(cells(GRID), path, settings=QUICK)
    assert rows[0] == before[0]
    assert untimed(rows) == serial
