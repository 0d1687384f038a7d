"""How a run starts, resumes and refuses to, without a framework."""

import itertools
import json
import math
import os
import signal

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.checkpoint import CheckpointError
from skdidicm.imagenet.output import Output
from skdidicm.imagenet.stopping import Interrupted


def contents(folder):
    """Return the bytes of every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def flip(path, at=-1, bit=0):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.unlink()  # not through a link: the best may be the same file
    path.write_bytes(content)


def weight(folder):
    return files.read(files.newest(folder)).tensors["model.weight"][0]


def figures(folder):
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(row["epoch"], row["update"], row["figures"]) for row in rows]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


# Starts that fail change nothing


def finished(toy_run, folder):
    toy_run(folder, stop_epoch=2).go()
    for name in ("config.json", "metrics.json", "model.skd"):
        (folder / name).write_text("{}")
    return contents(folder)


def other_settings(toy_run, folder):
    return toy_run(folder, seed=5)


def other_classes(toy_run, folder):
    return toy_run(folder, data={"names": ("even", "odd", "none")})


def fewer_images(toy_run, folder):
    return toy_run(folder, data={"n": 22})


def no_such_checkpoint(toy_run, folder):
    return toy_run(folder, resume=str(folder / "none.safetensors"))


def damaged_checkpoint(toy_run, folder):
    path = folder / "a.safetensors"
    path.write_bytes(b"hello")
    return toy_run(folder, resume=str(path))


@pytest.mark.parametrize(
    "start",
    [other_settings, other_classes, fewer_images, no_such_checkpoint, damaged_checkpoint],
)
def test_a_start_that_fails_changes_nothing(toy_run, folder, start):
    finished(toy_run, folder)
    run = start(toy_run, folder)
    before = contents(folder)
    with pytest.raises((ValueError, OSError)):
        run.go()
    assert contents(folder) == before


def test_what_belongs_to_the_run_is_written_once_it_can_start(toy_run, folder):
    written = []
    output = Output(folder, begin=lambda: written.append(sorted(contents(folder))))
    toy_run(folder, output=output, stop_epoch=1).go()
    assert written == [[]]
    with pytest.raises(ValueError, match="other settings"):
        toy_run(folder, output=output, seed=5).go()
    assert len(written) == 1


def test_never_moves_the_whole_run_aside(toy_run, folder, capsys):
    before = finished(toy_run, folder)
    toy_run(folder, resume="never", stop_epoch=1).go()
    assert contents(folder / "earlier-1") == before
    assert f"the earlier run is now in {folder / 'earlier-1'}" in capsys.readouterr().err
    assert [update for _, update, _ in figures(folder)] == [3]
    assert not (folder / "metrics.json").exists()


def test_resuming_from_an_own_checkpoint_moves_the_rest_aside_and_keeps_the_log(
    toy_run, whole, folder
):
    toy_run(folder).go()
    before = contents(folder)
    toy_run(folder, resume=str(files.path_of(folder, 6))).go()
    assert contents(folder / "earlier-1") == before
    assert weight(folder) == weight(whole)
    log = [json.loads(line)["update"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert log == list(range(1, 13))


# Damage


def test_a_damaged_newest_checkpoint_is_named_and_the_newest_intact_one_taken(
    toy_run, whole, folder, capsys
):
    toy_run(folder, stop_epoch=3).go()
    flip(files.path_of(folder, 9))
    toy_run(folder).go()
    text = capsys.readouterr().err
    assert "Warning: damaged checkpoints were found and renamed" in text
    assert "update-000000009.safetensors.damaged" in text
    assert f"resuming after update 6 from {files.path_of(folder, 6)}" in text
    assert weight(folder) == weight(whole)
    assert figures(folder) == figures(whole)
    best = files.read(folder / files.FOLDER / files.BEST)
    accuracies = {update: one["accuracy"] for _, update, one in figures(folder)}
    assert best.values["update"] == max(accuracies, key=accuracies.get)


def test_with_no_intact_checkpoint_nothing_is_lost(toy_run, folder):
    toy_run(folder, stop_epoch=2).go()
    for path in files.candidates(folder):
        flip(path)
    before = contents(folder)
    with pytest.raises(CheckpointError, match="--resume never"):
        toy_run(folder).go()
    assert contents(folder) == before


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"[" * 10**5 + b"\n", b'{"update": 1e999}\n'])
def test_damage_in_the_log_costs_a_line_and_not_the_run(toy_run, whole, folder, line):
    toy_run(folder, stop_epoch=2).go()
    path = folder / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], line, *lines[3:]]))
    toy_run(folder).go()
    assert weight(folder) == weight(whole)
    updates = [json.loads(line)["update"] for line in path.read_text().splitlines()]
    assert updates == [1, 2, *range(4, 13)]


def test_a_checkpoint_of_an_earlier_version_resumes_with_a_note(toy_run, whole, folder, capsys):
    toy_run(folder, stop_epoch=2).go()
    for path in files.candidates(folder):
        with safe_open(path, framework="np") as file:
            values = json.loads(file.metadata()["skdidicm"])
        values = {k: v for k, v in values.items() if k not in ("tensors_sha256", "data")}
        header = json.dumps(values | {"format": 1})
        save_file(load_file(path), path, metadata={"skdidicm": header})
    toy_run(folder).go()
    text = capsys.readouterr().err
    assert "was written by an earlier version of skdidicm, without checksums or a" in text
    assert weight(folder) == weight(whole)
    assert files.read(files.newest(folder)).verified


# Data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"n": 22}, r"train/even has 11 images instead of 12; train/odd has 11 images instead"),
        ({"n": 40}, r"train/even has 20 images instead of 12"),
        ({"names": ("even", "uneven")}, r"train/odd is missing; train/uneven is new"),
        ({"names": ("odd", "even")}, r"train/even has images of other names or sizes"),
    ],
)
@pytest.mark.parametrize("cut", [3, 4])
def test_changed_data_are_refused_and_named(toy_run, stop_before, folder, data, words, cut):
    with pytest.raises(Interrupted):
        stop_before(toy_run(folder), cut).go()
    with pytest.raises(ValueError, match=rf"has changed since .*\({words}.*--accept-changed-data"):
        toy_run(folder, data=data).go()


@pytest.mark.parametrize("n", [8, 16, 22, 40, 240])
@pytest.mark.parametrize("cut", [2, 3, 4])
def test_changed_data_can_be_accepted(toy_run, stop_before, folder, n, cut):
    with pytest.raises(Interrupted):
        stop_before(toy_run(folder), cut).go()
    toy_run(folder, data={"n": n}, accept_changed_data=True).go()
    assert [epoch for epoch, _, _ in figures(folder)] == [1, 2, 3, 4]
    updates = [0, *(update for _, update, _ in figures(folder))]
    assert [b - a for a, b in itertools.pairwise(updates)][2:] == [n // 8] * 2
    toy_run(folder, data={"n": n}).go()  # they are the data of the newest checkpoint now


def test_another_number_of_classes_cannot_be_accepted(toy_run, folder):
    toy_run(folder, stop_epoch=1).go()
    with pytest.raises(ValueError, match="trained on 2 classes, but toy has 3"):
        toy_run(folder, data={"names": ("a", "b", "c")}, accept_changed_data=True).go()


# Signals


def signal_in_evaluation(run, update, number=signal.SIGTERM):
    def send(current):
        if current == update:
            run.stop.signal = number

    run.engine.before_evaluation = send
    return run


@pytest.mark.parametrize("update", [3, 6, 9, 12])
def test_a_signal_in_an_evaluation_is_obeyed_also_in_the_last_one(toy_run, whole, folder, update):
    run = signal_in_evaluation(toy_run(folder), update)
    with pytest.raises(Interrupted) as end:
        run.go()
    assert end.value.code == 128 + signal.SIGTERM
    saved = files.read_run(files.newest(folder))
    assert saved.values["update"] == update
    assert len(saved.values["history"]) == update // 3 - 1
    toy_run(folder).go()
    assert weight(folder) == weight(whole)
    assert figures(folder) == figures(whole)


def test_an_evaluation_ends_early_at_a_signal(toy_run, folder):
    run = signal_in_evaluation(toy_run(folder), 3)
    seen = []
    run.engine.evaluate = lambda batches: (seen.extend(batches) or {"n_images": 1}, [])
    run.stop.signal = signal.SIGTERM
    with pytest.raises(Interrupted):
        run._evaluate()
    assert len(seen) == 1


# Full disks


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_at_a_restart_names_the_file_and_keeps_the_run(toy_run, folder, capsys):
    import resource

    toy_run(folder, stop_epoch=2).go()
    history, log = (folder / "history.jsonl").read_bytes(), (folder / "log.jsonl").read_bytes()
    run = toy_run(folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match=r"history\.jsonl"):
            run.go()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (folder / "history.jsonl").read_bytes() == history
    assert (folder / "log.jsonl").read_bytes() == log
    assert not list(folder.glob(".*partial"))


def test_best_is_remembered_over_a_resume(toy_run, whole, folder):
    for epoch in (1, 2, 3, 4):
        toy_run(folder, stop_epoch=epoch).go()
    saved, expected = (files.read(files.newest(one)).values["best"] for one in (folder, whole))
    assert saved == expected
    assert math.isfinite(saved)
    np.testing.assert_array_equal(
        files.read(folder / files.FOLDER / files.BEST).tensors["model.weight"],
        files.read(whole / files.FOLDER / files.BEST).tensors["model.weight"],
    )


def test_a_class_whose_name_is_no_text_is_refused(toy_run, folder):
    names = ("even", os.fsdecode(b"caf\xe9"))
    with pytest.raises(ValueError, match=r"toy has a class b'caf\\xe9', whose name is not UTF-8"):
        toy_run(folder, data={"names": names})
