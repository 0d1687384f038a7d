import os
from pathlib import Path

import numpy as np
import pytest

from skdidicm.folders import count, find_split, find_tars, is_text, pictures_below, scan, subset


def make(root, tree):
    for name in tree:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
        else:
            path.mkdir()
    return root


def names(folder, found):
    return [os.path.relpath(file, folder) for file in found.files]


def test_classes_are_folders_and_pictures_may_lie_deeper(tmp_path):
    make(tmp_path, ["b/2.png", "b/deep/er/1.JPEG", "a/x.webp", "a/notes.txt", "LICENSE"])
    found = scan(tmp_path)
    assert found.classes == ["a", "b"]
    assert names(tmp_path, found) == ["a/x.webp", "b/2.png", "b/deep/er/1.JPEG"]
    assert found.labels == [0, 1, 1]


def test_what_file_managers_leave_behind_is_neither_class_nor_picture(tmp_path):
    make(
        tmp_path, ["a/1.png", "b/1.png", "b/._1.png", ".ipynb_checkpoints/1.png", "a/.trash/2.png"]
    )
    found = scan(tmp_path)
    assert names(tmp_path, found) == ["a/1.png", "b/1.png"]


def test_class_folders_may_be_links(tmp_path):
    make(tmp_path, ["real/1.png", "split/a/1.png"])
    (tmp_path / "split/b").symlink_to(tmp_path / "real")
    assert scan(tmp_path / "split").labels == [0, 1]


def test_links_that_lead_back_are_not_followed(tmp_path):
    make(tmp_path, ["a/1.png", "b/in/2.png", "other/3.png"])
    for link in ("a/up", "b/in/up", "b/in/again", "other/up"):
        (tmp_path / link).symlink_to(tmp_path)
    (tmp_path / "b/out").symlink_to(tmp_path / "other")
    found = pictures_below(tmp_path / "b")
    assert sorted(os.path.relpath(file, tmp_path / "b") for file in found) == [
        "in/2.png",
        "in/again/a/1.png",
        "in/again/other/3.png",
        "in/up/a/1.png",
        "in/up/other/3.png",
        "out/3.png",
        "out/up/a/1.png",
    ]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (["a/1.png"], "holds 1 class folders; expected at least two"),
        (["1.png"], "holds 0 class folders"),
        (["a/1.png", "b/"], "has no pictures of b; every class needs a folder"),
        (["a/1.png", "b/1.txt"], "has no pictures of b;"),
        ([f"{c}/" for c in "abcdefg"], "has no pictures of a, b, c, d, e and 2 more;"),
    ],
)
def test_a_folder_without_enough_pictures_says_what_it_lacks(tmp_path, tree, words):
    make(tmp_path, tree)
    with pytest.raises(ValueError, match="class") as raised:
        scan(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path} {words}")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (["a/1.png"], "has no pictures of b;"),
        (["a/1.png", "b/"], "has no pictures of b;"),
        (["a/1.png", "b/1.png", "c/1.png"], "that the training data lack: c;"),
    ],
)
def test_validation_data_have_the_classes_of_the_training_data(tmp_path, tree, words):
    make(tmp_path, tree)
    with pytest.raises(ValueError, match="class") as raised:
        scan(tmp_path, ["a", "b"])
    assert words in str(raised.value)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_the_split_may_have_any_of_its_usual_names(tmp_path, name):
    make(tmp_path, [f"{name}/", "other.tar"])
    assert find_split(tmp_path, "val") == tmp_path / name
    with pytest.raises(FileNotFoundError, match="has no folder train or training; expected"):
        find_split(tmp_path, "train")


def test_tar_files_are_one_of_a_split_or_one_of_every_class(tmp_path):
    make(tmp_path, ["train.tar", "val/a.tar", "val/b.tar"])
    assert find_tars(tmp_path, "train") == tmp_path / "train.tar"
    assert find_tars(tmp_path, "val") == tmp_path / "val"
    with pytest.raises(FileNotFoundError, match=r"has no train\.tar or training\.tar; expected"):
        find_tars(Path("nowhere"), "train")


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
def test_a_subset_is_the_first_of_a_permutation_of_every_class(rng, ratio):
    labels = rng.permutation(np.repeat(np.arange(5), [8, 11, 1, 40, 13]))
    rows = subset(labels, ratio)
    assert rows == sorted(set(rows))
    counts = np.bincount(labels[rows], minlength=5)
    np.testing.assert_array_equal(
        counts, [max(1, int(n * ratio)) for n in np.bincount(labels, minlength=5)]
    )
    assert rows == subset(labels, ratio)


def test_a_smaller_subset_lies_in_a_larger_one():
    labels = np.repeat(np.arange(4), 20)
    quarter, half = (set(subset(labels, ratio)) for ratio in (0.25, 0.5))
    assert quarter < half < set(subset(labels, 1))


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_is_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    names = [entry.name for entry in os.scandir(tmp_path)]
    assert [is_text(name) for name in names] == [False]
    assert is_text("café")


def test_counting_stops_when_there_are_enough(tmp_path):
    make(tmp_path, [f"{c}/{i}.png" for c in "abc" for i in range(4)])
    assert count(tmp_path, 100) == 12
    assert count(tmp_path, 5) == 8


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    make(tmp_path, ["a/1.png", "a/private/2.png"])
    listed = os.scandir

    def scandir(folder):
        if str(folder).endswith("private"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setitem(os.walk.__globals__, "scandir", scandir)
    with pytest.raises(PermissionError, match=r"private cannot be read \(Perm"):
        pictures_below(tmp_path)
