import csv
import shutil
import threading

import numpy as np
import pytest

from skdidicm.predict.inputs import RowFormat
from skdidicm.saving import predictions
from skdidicm.saving.predictions import FolderJob, Share, check_output, predict_folder

Image = pytest.importorskip("PIL.Image")

NAMES = ("dark", "middle", "light")


def by_brightness(x):
    """Probabilities that are known for pictures of one grey value."""
    light = x.mean(axis=(1, 2)) / 255
    return np.stack([(1 - light) * 0.75, np.full(len(x), 0.25), light * 0.75], axis=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten pictures, one of them damaged, in parts of three."""
    monkeypatch.setattr(predictions, "PART", 3)
    root = tmp_path / "pictures"
    (root / "deep").mkdir(parents=True)
    for i in range(10):
        file = root / ("deep" if i % 2 else ".") / f"{i}.png"
        Image.new("L", (7 + i, 5), 25 * i).save(file)
    (root / "4.png").write_bytes(b"damaged")
    return root


def job(folder, output="out.csv", **changes):
    settings = {
        "root": folder,
        "output": folder.parent / output,
        "model": "m",
        "names": NAMES,
        "top": 5,
        "row_format": RowFormat(shape=(4, 4)),
        "workers": 2,
    }
    return FolderJob(**{**settings, **changes})


def silent(done, n):
    assert 0 < done <= n


def read(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["file"]: row for row in csv.DictReader(lines)}


def check(rows):
    assert len(rows) == 10
    for name, row in rows.items():
        i = int(name.removeprefix("deep/").removesuffix(".png"))
        if i == 4:
            assert not row["class"]
            assert "cannot be read as a picture" in row["error"]
            continue
        light = 25 * i / 255
        p = {"dark": 0.75 * (1 - light), "middle": 0.25, "light": 0.75 * light}
        expected = sorted(p, key=p.get, reverse=True)
        assert [row["class"], row["class_2"], row["class_3"]] == expected
        assert float(row["probability"]) == pytest.approx(max(p.values()), abs=1e-5)
        assert not row["error"]


def test_every_picture_has_its_classes_or_a_reason(folder):
    assert predict_folder(job(folder), by_brightness, silent)
    check(read(folder.parent / "out.csv"))
    assert sorted(p.name for p in folder.parent.iterdir()) == ["out.csv", "pictures"]


def test_parquet_has_the_same_rows(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert predict_folder(job(folder, "out.parquet"), by_brightness, silent)
    rows = parquet.read_table(folder.parent / "out.parquet").to_pylist()
    check({row["file"]: row for row in rows})
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)


def interrupt(folder):
    """Interrupt a prediction in its third batch; return the sizes of those before."""
    seen = []

    def interrupted(x):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(x))
        return by_brightness(x)

    with pytest.raises(KeyboardInterrupt):
        predict_folder(job(folder), interrupted, silent)
    return seen


def test_what_was_interrupted_goes_on(folder):
    seen = interrupt(folder)
    assert not (folder.parent / "out.csv").exists()
    rest = []
    assert predict_folder(job(folder), lambda x: rest.append(len(x)) or by_brightness(x), silent)
    assert sum(seen) + sum(rest) == 9
    check(read(folder.parent / "out.csv"))


def test_pictures_that_changed_since_an_interruption_are_predicted_again(folder):
    interrupt(folder)
    first = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))[0]
    Image.new("L", (9, 9), 255).save(folder / first)
    assert predict_folder(job(folder), by_brightness, silent)
    row = read(folder.parent / "out.csv")[first]
    assert row["class"] == "light"
    assert float(row["probability"]) == pytest.approx(0.75)


@pytest.mark.parametrize(("rank", "since"), [(1, 0), (0, 0), (1, 3600)])
def test_a_late_process_begins_no_parts_of_its_own(folder, rank, since):
    assert predict_folder(job(folder), by_brightness, silent)
    written = (folder.parent / "out.csv").stat().st_mtime
    asked = []
    late = job(folder, share=Share(rank, 2), begun=written + since)
    predict_folder(late, lambda x: asked.append(len(x)) or by_brightness(x), silent)
    again = rank == 0 or since > 0  # the first process, and one of a later call, predict anew
    assert bool(asked) == again
    left = sorted(p.name for p in folder.parent.iterdir())
    assert again or left == ["out.csv", "pictures"]


def test_processes_take_their_shares_and_the_last_joins_them(folder):
    shares, done = [Share(r, 3) for r in range(3)], []

    def predict(share):
        done.append(predict_folder(job(folder, share=share), by_brightness, silent))

    threads = [threading.Thread(target=predict, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(done)
    check(read(folder.parent / "out.csv"))


def test_torchrun_says_which_share(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert Share.of_torchrun() == (3, 8)


def test_no_more_than_two_parts_are_in_memory(folder, monkeypatch):
    decoded, predicted, ahead = [], [], []
    original = predictions.read_rows

    def counted(*arguments):
        decoded.append(1)
        return original(*arguments)

    def slow(x):
        ahead.append(len(decoded) - len(predicted))
        predicted.extend(x)
        return by_brightness(x)

    monkeypatch.setattr(predictions, "read_rows", counted)
    predict_folder(job(folder, row_format=RowFormat(shape=(4, 4))), slow, silent)
    assert max(ahead) <= 2 * predictions.PART + 1  # the damaged one is never predicted


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"top": 1},
        {"names": ("a", "b", "c")},
        {"row_format": RowFormat(shape=(4, 4), pixel_max=1)},
    ],
)
def test_parts_of_another_job_are_not_mixed_in(folder, change):
    def stop(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_folder(job(folder), stop, silent)
    with pytest.raises(ValueError, match=r"out\.csv\.parts holds predictions of other pictures"):
        predict_folder(job(folder, **change), by_brightness, silent)


def test_pictures_of_the_same_names_in_another_folder_are_not_mixed_in(folder):
    calls = []

    def stop_later(x):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return by_brightness(x)

    with pytest.raises(KeyboardInterrupt):
        predict_folder(job(folder), stop_later, silent)
    other = shutil.copytree(folder, folder.with_name("other"))
    with pytest.raises(ValueError, match="holds predictions of other pictures"):
        predict_folder(job(other, output=folder.parent / "out.csv"), by_brightness, silent)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no pictures"):
        predict_folder(job(tmp_path), by_brightness, silent)


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "old.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    for name, words in (
        ("a.txt", r"ending in \.csv or \.parquet"),
        ("old.csv", "pass --overwrite"),
        ("no/a.csv", "create it first"),
        ("folder.csv", "is a folder"),
    ):
        with pytest.raises((ValueError, OSError), match=words):
            check_output(tmp_path / name, overwrite=False)
    check_output(tmp_path / "old.csv", overwrite=True)
