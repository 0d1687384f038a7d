import os
import shutil

import pytest

from skdidicm.imagenet.fingerprint import Fingerprint, differences, fingerprint_split, shown
from skdidicm.imagenet.recipes import resolve
from skdidicm.imagenet.sources import open_source

CLASSES = ["cat", "dog", "elk"]


@pytest.fixture
def tree(tmp_path):
    """Three classes in both splits; every file has a size of its own."""
    for split, n in (("train", 4), ("val", 2)):
        for i, name in enumerate(CLASSES):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for j in range(n):
                (folder / f"{j}.jpg").write_bytes(bytes(100 * i + j))
    return tmp_path / "data"


def fingerprint(root):
    config = resolve({"data": str(root)}).config
    classes = open_source(config, "train").classes
    splits = [open_source(config, s, classes).fingerprint(classes) for s in ("train", "val")]
    return Fingerprint(*splits)


def remove_image(root):
    (root / "train/dog/2.jpg").unlink()
    return ["train/dog has 3 images instead of 4"]


def add_image(root):
    shutil.copy(root / "val/elk/1.jpg", root / "val/elk/9.jpg")
    return ["val/elk has 3 images instead of 2"]


def rename_image(root):
    (root / "train/cat/1.jpg").rename(root / "train/cat/one.jpg")
    return ["train/cat has images of other names or sizes"]


def change_size(root):
    (root / "train/cat/1.jpg").write_bytes(bytes(17))
    return ["train/cat has images of other names or sizes"]


def swap_classes(root):
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / "x")
        (root / split / "dog").rename(root / split / "cat")
        (root / split / "x").rename(root / split / "dog")
    other = "has images of other names or sizes"
    return [f"{split}/{name} {other}" for split in ("train", "val") for name in ("cat", "dog")]


def rename_class(root):
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / "cow")
    return [f"{s}/{what}" for s in ("train", "val") for what in ("cat is missing", "cow is new")]


def add_class(root):
    for split in ("train", "val"):
        shutil.copytree(root / split / "cat", root / split / "fox")
    return ["train/fox is new", "val/fox is new"]


CHANGES = (
    *(remove_image, add_image, rename_image, change_size),
    *(swap_classes, rename_class, add_class),
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_data_is_named(tree, change):
    before = fingerprint(tree)
    expected = change(tree)
    assert differences(before, fingerprint(tree)) == expected


def test_a_copy_elsewhere_is_the_same_data(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "elsewhere" / "copy")
    os.utime(copy / "train/cat/0.jpg", (1, 1))
    assert fingerprint(copy) == fingerprint(tree)


def test_a_fingerprint_comes_back_from_json(tree):
    saved = fingerprint(tree)
    found = Fingerprint.parse(saved.plain())
    assert found == saved
    assert list(found.train) == CLASSES


def test_names_that_are_not_utf_8_have_fingerprints():
    images = [(0, b"\xff.jpg", 3), (1, b"a.jpg", 4)]
    assert fingerprint_split(["a", "b"], images)["a"].n == 1


def test_another_order_of_the_classes_is_a_difference():
    images = [(0, b"a", 1), (1, b"b", 1)]
    one = fingerprint_split(["cat", "dog"], images)
    other = fingerprint_split(["dog", "cat"], [(1, b"a", 1), (0, b"b", 1)])
    assert one == other
    saved = Fingerprint(one, one)
    assert differences(saved, Fingerprint(other, other)) == [
        "the classes of train have another order"
    ]


def test_without_names_only_numbers_are_compared():
    one = fingerprint_split(["a", "b"], [(0, b"", 0), (1, b"", 0)])
    other = fingerprint_split(["a", "b"], [(0, b"x", 5), (1, b"y", 5)])
    assert differences(Fingerprint(one, one), Fingerprint(other, other)) == []


def test_many_differences_are_cut_short():
    text = shown([f"class {i}" for i in range(9)])
    assert text.endswith("class 4; and 4 more")
