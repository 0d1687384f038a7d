"""WebDataset shards, read by number."""

import io
import tarfile

import pytest

from skdidicm.imagenet.shards import scan_shards


def put(path, members):
    """Write a tar file of names and bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key, label, content=None):
    return [(f"{key}.jpg", content or key.encode()), (f"{key}.cls", str(label).encode())]


def test_every_picture_is_found_with_its_bytes_and_its_class(tmp_path):
    put(tmp_path / "train-000001.tar", sample("c", 2))
    put(
        tmp_path / "train-000000.tar",
        [("a/x.cls", b"1\n"), ("a/x.json", b"{}"), ("a/x.JPEG", b"first"), *sample("a/b", 0)],
    )
    found = scan_shards(tmp_path, "train")
    assert found.labels == [1, 0, 2]
    assert [entry.open().read() for entry in found.entries] == [b"first", b"a/b", b"c"]
    assert found.classes == ["0", "1", "2"]


def test_shards_may_lie_in_a_folder_and_classes_have_names(tmp_path):
    put(tmp_path / "val" / "00.tar", sample("a", 1))
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    assert scan_shards(tmp_path, "val").classes == ["cat", "dog", "owl"]


@pytest.mark.parametrize("members", [sample("a", "cat"), sample("a", -1), [("a.jpg", b"x")]])
def test_a_picture_without_a_class_number_is_named(tmp_path, members):
    put(tmp_path / "train.tar", members)
    with pytest.raises(ValueError, match=r"no class number for a \(found .*expected a\.cls"):
        scan_shards(tmp_path, "train")


def test_a_class_without_a_name_a_damaged_shard_and_none_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no shards train\*\.tar"):
        scan_shards(tmp_path, "train")
    put(tmp_path / "train.tar", sample("a", 1))
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(ValueError, match=r"names 1 classes, but the shards have numbers up to 1"):
        scan_shards(tmp_path, "train")
    (tmp_path / "train.tar").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match=r"train\.tar is not a tar file, or it is damaged"):
        scan_shards(tmp_path, "train")
