import gzip
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from skdidicm.datasets import (
    FASHION_CLASSES,
    load_digits_split,
    load_fashion_mnist,
    load_folder_split,
    read_idx,
)


def idx_bytes(array):
    """Write the format as its specification says, independently of the reader."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return header + b"".join(struct.pack(">I", size) for size in array.shape) + array.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(7).integers(0, 256, (40, 5, 4), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.arange(40, dtype=np.uint8) % 10


@pytest.fixture
def folder(tmp_path, images, labels):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images[:12])))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels[:12]))
    return tmp_path


def test_digits_are_split_in_the_proportion_of_the_classes():
    split = load_digits_split(3)
    assert split.X_train.dtype == np.uint8
    assert split.X_train.max() == 255
    assert len(split.X_train) == 1437
    assert len(split.X_test) == 360
    counts = np.bincount(split.y_train) + np.bincount(split.y_test)
    np.testing.assert_allclose(np.bincount(split.y_test) / counts, 0.2, atol=0.006)


def test_the_split_of_the_digits_depends_on_the_seed_alone():
    first, again, other = (load_digits_split(seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.X_test, again.X_test)
    assert not np.array_equal(first.X_test, other.X_test)


def test_idx_files_are_read_plain_and_compressed(folder, images, labels):
    split = load_fashion_mnist(folder)
    np.testing.assert_array_equal(split.X_train, images)
    np.testing.assert_array_equal(split.y_train, labels)
    np.testing.assert_array_equal(split.X_test, images[:12])
    assert split.X_train.dtype == np.uint8
    assert split.class_names == FASHION_CLASSES


def test_a_subset_holds_distinct_images_with_their_own_labels(folder, images, labels):
    split = load_fashion_mnist(folder, n_train=15, seed=1)
    rows = [int(np.flatnonzero((images == x).all(axis=(1, 2)))[0]) for x in split.X_train]
    assert len(set(rows)) == 15
    np.testing.assert_array_equal(split.y_train, labels[rows])
    assert len(split.X_test) == 12


def test_noise_has_the_deviation_that_was_asked_for(folder, images):
    split = load_fashion_mnist(folder, noise=0.5)
    noise = split.X_train - images / 255
    assert split.X_train.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=0.06)
    assert noise.std() == pytest.approx(0.5 * images.std() / 255, rel=0.08)


def test_training_and_test_noise_differ_and_test_noise_stays(folder, images):
    whole = load_fashion_mnist(folder, noise=0.5)
    part = load_fashion_mnist(folder, n_train=5, noise=0.5)
    np.testing.assert_array_equal(whole.X_test, part.X_test)
    train_noise = (whole.X_train - images / 255)[:12]
    test_noise = whole.X_test - images[:12] / 255
    assert not np.allclose(train_noise, test_noise)
    assert abs(np.corrcoef(train_noise.ravel(), test_noise.ravel())[0, 1]) < 0.25


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "holds neither train-images-idx3-ubyte nor"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:6]), "not an idx file"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html>"), "not an idx file"),
        (lambda path: path.write_bytes(b""), "not an idx file"),
        (lambda path: path.write_bytes(idx_bytes(np.arange(40, dtype=np.uint8))), "expected image"),
    ],
)
def test_a_missing_foreign_or_truncated_file_is_named(folder, damage, message):
    damage(folder / "train-images-idx3-ubyte")
    with pytest.raises((OSError, ValueError), match=message) as caught:
        load_fashion_mnist(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"not gzip", lambda b: b[:-9]]
)
def test_a_damaged_gzip_file_is_named(folder, damage):
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"idx3-ubyte\.gz cannot be decompressed"):
        load_fashion_mnist(folder)


def test_labels_beyond_ten_classes_are_refused(folder, labels):
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels[:12] + 5))
    with pytest.raises(ValueError, match="expected at least one, from 0 to 9"):
        load_fashion_mnist(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load_fashion_mnist(tmp_path / "nowhere")


@pytest.mark.parametrize("n_train", [0, -3, 41])
def test_a_subset_that_cannot_be_is_refused(folder, n_train):
    with pytest.raises(ValueError, match=f"n_train is {n_train}; expected 1 to 40"):
        load_fashion_mnist(folder, n_train=n_train)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_noise_that_is_no_deviation_is_refused(folder, noise):
    with pytest.raises(ValueError, match="noise is"):
        load_fashion_mnist(folder, noise=noise)


def test_an_idx_array_of_any_rank_is_read(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    (tmp_path / "a").write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


class TestImageFolder:
    def test_pictures_of_any_size_become_squares_with_the_names_of_their_folders(self, tmp_path):
        Image = pytest.importorskip("PIL.Image")
        from skdidicm.datasets import load_image_folder

        colours = {
            "cat/a.png": (250, 0, 0),
            "cat/deep/b.png": (0, 250, 0),
            "dog/c.png": (0, 0, 250),
        }
        for i, (name, colour) in enumerate(colours.items()):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20 + i, 31), colour).save(tmp_path / name)
        (tmp_path / "cat/.hidden.png").write_bytes(b"")
        (tmp_path / "dog/notes.txt").write_text("")
        found = load_image_folder(tmp_path, 8)
        assert found.y.tolist() == ["cat", "cat", "dog"]
        assert found.X.shape == (3, 8, 8, 3)
        assert (np.array(list(colours.values()))[:, None, None] == found.X).all()

    def test_one_class_and_damaged_pictures_are_refused(self, tmp_path):
        pytest.importorskip("PIL.Image")
        from skdidicm.datasets import load_image_folder

        (tmp_path / "cat").mkdir()
        (tmp_path / "cat/a.png").write_bytes(b"no picture")
        with pytest.raises(ValueError, match="holds 1 class folders"):
            load_image_folder(tmp_path, 8)
        (tmp_path / "dog").mkdir()
        (tmp_path / "dog/a.png").write_bytes(b"no picture")
        with pytest.raises(ValueError, match="cannot be read as a picture"):
            load_image_folder(tmp_path, 8)


class TestFolderSplit:
    @pytest.fixture
    def own(self, tmp_path):
        Image = pytest.importorskip("PIL.Image")
        for name, n in (("cat", 10), ("dog", 5), ("owl", 1)):
            (tmp_path / name).mkdir()
            for i in range(n):
                Image.new("RGB", (9, 9), (i, i, i)).save(tmp_path / name / f"{i}.png")
        return tmp_path

    def test_every_class_is_divided_in_the_same_proportion(self, own):
        split = load_folder_split(own, test_size=0.2, seed=3)
        assert np.bincount(split.y_train).tolist() == [8, 4, 1]
        assert np.bincount(split.y_test, minlength=3).tolist() == [2, 1, 0]
        assert split.class_names == ("cat", "dog", "owl")
        files = [*split.X_train, *split.X_test]
        assert sorted(files) == sorted(str(file) for file in own.rglob("*.png"))
        for file, label in zip(files, [*split.y_train, *split.y_test], strict=True):
            assert Path(file).parent.name == split.class_names[label]

    def test_the_seed_decides_and_a_size_gives_pictures(self, own):
        first, again, other = (load_folder_split(own, seed=s).X_test for s in (0, 0, 1))
        assert first == again
        assert first != other
        pictures = load_folder_split(own, size=4, seed=0).X_test
        assert pictures.shape == (3, 4, 4, 3)
        assert pictures.sources == first

    def test_folders_train_and_val_are_the_parts(self, own):
        (own / "all").mkdir()
        for name in ("cat", "dog", "owl"):
            (own / name).rename(own / "all" / name)
        for part in ("train", "val"):
            shutil.copytree(own / "all", own / part)
        split = load_folder_split(own)
        assert all(Path(file).is_relative_to(own / "train") for file in split.X_train)
        assert len(split.X_train) == len(split.X_test) == 16

    def test_a_split_without_the_other_is_no_class(self, own):
        (own / "all").mkdir()
        for name in ("cat", "dog", "owl"):
            (own / name).rename(own / "all" / name)
        (own / "all").rename(own / "train")
        shutil.copytree(own / "train", own / "more")
        with pytest.raises(FileNotFoundError, match="has no folder val or valid"):
            load_folder_split(own)

    @pytest.mark.skipif(os.name != "posix", reason="other systems have no such names")
    def test_a_class_whose_name_is_no_text_is_refused(self, own):
        (own / "dog").rename(own / os.fsdecode(b"caf\xe9"))
        with pytest.raises(ValueError, match=r"'caf\\udce9', which is no UTF-8; rename"):
            load_folder_split(own)

    def test_train_may_be_the_name_of_a_class(self, own):
        (own / "dog").rename(own / "train")
        assert load_folder_split(own).class_names == ("cat", "owl", "train")

    def test_one_picture_of_every_class_is_too_few(self, own):
        for file in own.rglob("*.png"):
            if file.name != "0.png":
                file.unlink()
        with pytest.raises(ValueError, match="every class has one picture"):
            load_folder_split(own)
