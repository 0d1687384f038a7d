"""Trials of what a run promises, many of each kind from fixed seeds; each prints its counts.

`pytest -m slow -s tests/imagenet/test_trials.py` runs them. The numbers can be raised by the
environment variable SKDIDICM_TRIALS, a factor.
"""

import contextlib
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.checkpoint import Checkpoint, CheckpointError
from skdidicm.imagenet.fingerprint import Fingerprint, differences
from skdidicm.imagenet.recipes import resolve
from skdidicm.imagenet.sources import open_source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks"),
]


def weight(folder):
    return files.read(files.newest(folder)).tensors["model.weight"][0]


def figures(folder):
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(row["epoch"], row["update"], row["figures"]) for row in rows]


def start(run):
    """Run in a forked process; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    with contextlib.suppress(BaseException):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        run().go()
        code = 0
    os._exit(code)


def test_killed_runs_end_as_whole_ones(toy_run, whole, tmp_path, report, trials):
    """SIGKILL at random moments, up to five times a run, with a checkpoint after every update."""
    rng = np.random.default_rng(0)
    kills = resumed = broken = 0
    for i in trials(40):
        folder = tmp_path / f"run-{i}"
        folder.mkdir()
        for _ in range(int(rng.integers(1, 6))):
            child = start(lambda f=folder: toy_run(f, checkpoint_minutes=0))
            time.sleep(rng.uniform(0.0, 0.06))
            os.kill(child, signal.SIGKILL)
            kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            for path in files.candidates(folder):
                try:
                    files.read_run(path)
                except CheckpointError:
                    broken += 1
        resumed += files.newest(folder) is not None
        toy_run(folder).go()
        assert weight(folder) == weight(whole)
        assert figures(folder) == figures(whole)
        shutil.rmtree(folder)
    report(
        f"SIGKILL: {len(trials(40))} runs, {kills} kills, {resumed} of the runs resumed from a "
        f"checkpoint, {broken} broken checkpoints, all ended as one that was not interrupted"
    )
    assert broken == 0


def test_flipped_bits_never_change_a_run(toy_run, whole, tmp_path, report, trials):
    """One flipped bit in a random checkpoint of a run; the run goes on from an intact one."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "run"
    folder.mkdir()
    toy_run(folder, stop_epoch=3).go()
    newest_damaged = 0
    for _ in trials(150):
        damaged = shutil.copytree(folder, tmp_path / "damaged")
        path = files.candidates(damaged)[int(rng.integers(3))]
        newest_damaged += path == files.newest(damaged)
        content = bytearray(path.read_bytes())
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.unlink()
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            files.read(path)
        toy_run(damaged).go()
        assert weight(damaged) == weight(whole)
        assert figures(damaged) == figures(whole)
        shutil.rmtree(damaged)
    report(
        f"flipped bits: {len(trials(150))} runs, {newest_damaged} with a damaged newest "
        "checkpoint; all were noticed, all runs ended as the intact one"
    )


def test_damaged_files_never_read_as_others(tmp_path, report, trials):
    """Flipped, zeroed, cut, repeated and exchanged parts of checkpoints of many tensors."""
    rng = np.random.default_rng(2)
    path = tmp_path / "a.safetensors"
    tensors = {f"model.{i}": rng.random((3, 7)).astype(np.float32) for i in range(20)}
    files.write(path, Checkpoint(tensors, {"update": 3, "history": []}))
    content = path.read_bytes()
    same = 0
    for _ in trials(2000):
        changed = mutated(content, rng)
        if changed == content:
            same += 1
            continue
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            files.read(path)
    report(f"damaged files: {len(trials(2000)) - same} changed files, all refused")


def mutated(content, rng):
    """Return a file with one random change."""
    a, b = sorted(int(at) for at in rng.integers(0, len(content), 2))
    kind = rng.integers(6)
    if kind == 0:
        return content[:a]
    if kind == 1:
        return content[:a] + bytes(b - a) + content[b:]
    if kind == 2:
        return content[:a] + content[b:]
    if kind == 3:
        return content[:b] + content[a:]
    if kind == 4:
        part = bytearray(content[a:b])
        part.reverse()
        return content[:a] + bytes(part) + content[b:]
    changed = bytearray(content)
    for at in rng.integers(0, len(content), int(rng.integers(1, 6))):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


CLASSES = ("cat", "dog", "elk")


def make_tree(root, rng):
    """Write files of random sizes and return where they are."""
    for split in ("train", "val"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for i in range(int(rng.integers(2, 6))):
                (root / split / name / f"{i}.jpg").write_bytes(bytes(int(rng.integers(1, 500))))
    return sorted(root.rglob("*.jpg"))


def fingerprint(root):
    config = resolve({"data": str(root)}).config
    classes = open_source(config, "train").classes
    splits = [open_source(config, s, classes).fingerprint(classes) for s in ("train", "val")]
    return Fingerprint(*splits)


def change_tree(root, found, rng):
    """Change a tree in a random way."""
    path = found[int(rng.integers(len(found)))]
    kind = rng.integers(6)
    if kind == 0 and len(list(path.parent.iterdir())) > 1:
        path.unlink()
    elif kind == 1:
        shutil.copy(path, path.with_name("new.jpg"))
    elif kind == 2:
        path.rename(path.with_name("renamed.png"))
    elif kind == 3:
        path.rename(path.parents[1] / CLASSES[(CLASSES.index(path.parent.name) + 1) % 3] / "m.jpg")
        shutil.copy(found[-1] if path != found[-1] else found[0], path.with_name("other.jpg"))
    elif kind == 4:
        for split in ("train", "val"):
            (root / split / path.parent.name).rename(root / split / "yak")
    else:
        path.write_bytes(bytes(path.stat().st_size + 1))


def test_changed_data_are_always_noticed(tmp_path, report, trials):
    """Removed, added, renamed, moved and changed pictures, and renamed classes."""
    rng = np.random.default_rng(3)
    for i in trials(200):
        root = tmp_path / f"data-{i}"
        found = make_tree(root, rng)
        before = fingerprint(root)
        assert differences(before, fingerprint(root)) == []
        change_tree(root, found, rng)
        assert differences(before, fingerprint(root)) != []
        shutil.rmtree(root)
    report(f"changed data: {len(trials(200))} changed trees, all noticed, no unchanged one")


def test_runs_on_changed_data_are_refused_or_accepted_whole(
    toy_run, stop_before, tmp_path, report, trials
):
    """Runs that were cut at any update, with other numbers of images."""
    rng = np.random.default_rng(4)
    for i in trials(100):
        folder = tmp_path / f"run-{i}"
        folder.mkdir()
        with pytest.raises(SystemExit):
            stop_before(toy_run(folder), int(rng.integers(12))).go()
        n = int(rng.integers(8, 100))
        n += n == 24
        with pytest.raises(ValueError, match="has changed since"):
            toy_run(folder, data={"n": n}).go()
        toy_run(folder, data={"n": n}, accept_changed_data=True).go()
        assert [epoch for epoch, _, _ in figures(folder)] == [1, 2, 3, 4]
        shutil.rmtree(folder)
    report(f"runs on changed data: {len(trials(100))}, all refused, and finished when accepted")
