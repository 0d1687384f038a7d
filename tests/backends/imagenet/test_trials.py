"""Trials with real processes of torch, from fixed seeds; each prints its counts.

`pytest -m slow -s tests/backends/imagenet/test_trials.py` runs them. The environment variable
SKDIDICM_TRIALS is a factor on their numbers.
"""

import shutil
import signal
import time

import numpy as np
import pytest

from skdidicm.imagenet import checkpoint as files

pytest.importorskip("timm")
pytestmark = [pytest.mark.imagenet, pytest.mark.slow]


def test_two_starts_at_once_never_share_a_folder(train, strong, tmp_path, report, trials):
    """One of two processes writes; the other one says which, whichever came first.

    The runs are so long that neither can end before the other has started.
    """
    rng = np.random.default_rng(0)
    refused = 0
    for i in trials(10):
        folder = tmp_path / f"run-{i}"
        runs = [train(folder, log_every=1, **strong | {"epochs": 500})]
        time.sleep(rng.uniform(0, 0.2))
        runs.append(train(folder, log_every=1, **strong | {"epochs": 500}))
        end = time.monotonic() + 120
        while not (told := [r for r in runs if "is being written by process" in r.text]):
            assert time.monotonic() < end, runs[0].text + runs[1].text
            time.sleep(0.01)
        (loser,) = told
        (winner,) = (run for run in runs if run is not loser)
        assert loser.wait() == 1, loser.text
        assert f"is being written by process {winner.number} " in loser.text
        winner.after("update 1/")
        winner.kill(signal.SIGTERM)
        assert winner.wait() == 143, winner.text
        refused += 1
        files.read_run(files.newest(folder))
    report(f"two starts at once: {len(trials(10))} pairs, {refused} second ones refused")


def test_killed_ranks_resume_bit_for_bit(
    train_together, state_of, assert_same, tmp_path, report, trials
):
    """SIGKILL of one of two processes at a random update; the group is started again."""
    rng = np.random.default_rng(1)
    settings = {"epochs": 2, "learning_rate": 0.01, "log_every": 1, "ema": 0.9}
    whole = train_together(tmp_path / "whole", **settings)
    assert [run.wait() for run in whole] == [0, 0], whole[0].text
    for i in trials(6):
        folder = tmp_path / f"run-{i}"
        runs = train_together(folder, checkpoint_minutes=0, **settings)
        runs[0].after(f"update {int(rng.integers(1, 8))}/8")
        time.sleep(rng.uniform(0, 0.2))
        victim = int(rng.integers(2))
        runs[victim].kill(signal.SIGKILL)
        time.sleep(0.2)
        runs[1 - victim].kill(signal.SIGKILL)  # torchrun would do so
        for run in runs:
            run.wait()
        runs = train_together(folder, **settings)
        assert [run.wait() for run in runs] == [0, 0], runs[0].text
        assert_same(state_of(folder), state_of(tmp_path / "whole"))
    report(f"SIGKILL of one of two processes: {len(trials(6))}, all resumed bit for bit")


def test_killed_processes_resume_bit_for_bit(
    four_epochs, train, strong, state_of, assert_same, tmp_path, report, trials
):
    """SIGKILL at a random moment of a run by the strong recipe, with a checkpoint every update."""
    rng = np.random.default_rng(2)
    for i in trials(12):
        folder = tmp_path / f"run-{i}"
        run = train(folder, checkpoint_minutes=0, log_every=1, **strong)
        run.after(f"update {int(rng.integers(1, 16))}/16")
        time.sleep(rng.uniform(0, 0.3))
        run.kill(signal.SIGKILL)
        run.wait()
        for path in files.candidates(folder):
            files.read_run(path)
        run = train(folder, **strong)
        assert run.wait() == 0, run.text
        assert_same(state_of(folder), state_of(four_epochs))
        shutil.rmtree(folder)
    report(f"SIGKILL of a process: {len(trials(12))}, all resumed bit for bit")


def test_flipped_bits_of_a_real_checkpoint_are_noticed(four_epochs, tmp_path, report, trials):
    rng = np.random.default_rng(3)
    content = files.newest(four_epochs).read_bytes()
    path = tmp_path / "a.safetensors"
    header = int.from_bytes(content[:8], "little")
    in_header = 0
    for _ in trials(300):
        limit = header + 8 if rng.random() < 0.3 else len(content)
        at = int(rng.integers(limit))
        in_header += at < header + 8
        changed = bytearray(content)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(files.CheckpointError):
            files.read_run(path)
    report(f"flipped bits: {len(trials(300))}, {in_header} of them in the header, all noticed")
