from pathlib import Path

import pytest

pytest.importorskip("PIL")
from PIL import Image, features

from skdidicm.imagenet import check
from skdidicm.imagenet.check import Fault, ImageInfo, ImageTree


def write(path, mode="RGB", size=(12, 9), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, **options)
    return str(path)


@pytest.fixture
def tree(tmp_path):
    """Two classes in both splits, one picture each."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            write(tmp_path / split / name / "a.png")
    return tmp_path


def report(root, jobs=1):
    tree = check.scan_tree(root)
    return check.report(tree, check.inspect_images(tree.files, jobs))


def test_a_sound_tree_has_no_faults(tree):
    found = report(tree)
    assert found.faults == []
    assert found.splits["train"]["pictures"] == found.splits["train"]["classes"] == 2


def test_a_truncated_picture_and_a_text_are_unreadable(tree):
    whole = write(tree / "train/cat/b.jpg", size=(200, 200), quality=95)
    Path(whole).write_bytes(Path(whole).read_bytes()[:500])
    (tree / "val/dog/b.jpg").write_text("no picture")
    found = report(tree)
    assert [(f.kind, f.split, f.class_name, f.path) for f in found.faults] == [
        ("unreadable", "train", "cat", whole),
        ("unreadable", "val", "dog", str(tree / "val/dog/b.jpg")),
    ]
    assert all(fault.reason for fault in found.faults)
    assert [found.splits[split]["unreadable"] for split in ("train", "val")] == [1, 1]


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("skdidicm.pictures.MAX_PIXELS", 100)
    assert "pixels" in check.inspect_image(write(tmp_path / "big.png", size=(11, 10))).reason
    assert check.inspect_image(write(tmp_path / "small.png", size=(10, 10))).reason == ""


def test_unusual_modes_and_rotations_are_counted_and_are_no_faults(tree):
    write(tree / "train/cat/cmyk.jpg", "CMYK")
    write(tree / "train/cat/palette.png", "P")
    write(tree / "train/cat/deep.png", "I;16")
    write(tree / "train/cat/grey.png", "L")
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tree / "train/dog/turned.jpg", exif=exif)
    found = report(tree)
    assert found.faults == []
    assert found.splits["train"]["unusual_modes"] == {"CMYK": 1, "P": 1, "I;16": 1}
    assert found.splits["train"]["rotated"] == 1


def test_the_smallest_picture_has_the_shortest_side(tree):
    write(tree / "train/cat/flat.png", size=(300, 3))
    assert report(tree).splits["train"]["smallest"] == [300, 3]
    assert report(tree).splits["val"]["smallest"] == [12, 9]


def test_classes_that_are_empty_missing_or_unknown_are_faults(tree):
    (tree / "train/fox").mkdir()
    (tree / "train/fox/notes.txt").write_text("no suffix of a picture")
    write(tree / "val/elk/a.png")
    found = report(tree)
    assert found.faults == [
        Fault("empty class", "train", "fox"),
        Fault("missing class", "val", "fox"),
        Fault("unknown class", "val", "elk"),
    ]
    assert found.splits["val"]["missing_classes"] == found.splits["val"]["unknown_classes"] == 1
    assert found.splits["train"]["empty_classes"] == 1


def test_a_missing_split_is_a_fault_and_the_other_is_read(tmp_path):
    for name in ("cat", "dog"):
        write(tmp_path / "train" / name / "a.png")
    found = report(tmp_path)
    assert found.faults == [Fault("missing split", "val")]
    assert found.splits["train"]["pictures"] == 2


def test_one_class_is_too_few(tmp_path):
    for split in ("train", "val"):
        write(tmp_path / split / "cat/a.png")
    kinds = {fault.kind for fault in report(tmp_path).faults}
    assert kinds == {"too few classes"}


def test_a_folder_without_splits_is_an_error_that_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="train/CLASS/picture"):
        check.scan_tree(tmp_path)


def test_several_processes_see_what_one_sees_in_the_same_order(tree):
    for i in range(80):
        write(tree / "train/cat" / f"{i:03d}.png", size=(10 + i, 10))
    (tree / "train/cat/050.png").write_bytes(b"")
    files = check.scan_tree(tree).files
    alone = list(check.inspect_images(files, 1))
    assert list(check.inspect_images(files, 2)) == alone
    assert [one.path for one in alone] == files


def test_what_a_check_accepts_is_what_training_reads(tree):
    """The same folders through the scan of a run: no error exactly if there is no fault."""
    from skdidicm.folders import scan

    classes = scan(tree / "train").classes
    scan(tree / "val", classes)
    assert report(tree).faults == []
    (tree / "val/dog/a.png").unlink()
    with pytest.raises(ValueError, match="dog"):
        scan(tree / "val", classes)
    assert report(tree).faults == [Fault("empty class", "val", "dog")]


def test_a_report_needs_no_files():
    tree = ImageTree("root", {"train": {"a": ["x"], "b": ["y"]}, "val": {"a": ["z"], "b": ["w"]}})
    infos = [ImageInfo(name, "", "RGB", (5, 6)) for name in "xyz"] + [ImageInfo("w", "cut short")]
    found = check.report(tree, infos)
    assert found.faults == [Fault("unreadable", "val", "b", "w", "cut short")]
    assert found.splits["val"]["smallest_file"] == "z"


def test_webp_is_read_where_pillow_can(tree):
    if not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    write(tree / "train/cat/b.webp")
    assert report(tree).faults == []
