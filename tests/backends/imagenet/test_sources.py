import gc
import io
import tarfile
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from skdidicm_torch.imagenet.data import open_source  # noqa: E402
from skdidicm_torch.imagenet.feed import Feed  # noqa: E402

pytestmark = [
    pytest.mark.imagenet,
    pytest.mark.filterwarnings("ignore:unclosed file .*[.]tar:ResourceWarning"),  # by timm
]


@pytest.fixture(autouse=True)
def collected():
    """Collect timm's readers of tar files, which nobody can close, while that is no error."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def tars(photographs, tmp_path):
    """The same pictures in train.tar and val.tar."""
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as file:
            for folder in sorted((photographs / split).iterdir(), reverse=True):
                file.add(folder, arcname=folder.name)
    return tmp_path


def test_tar_files_hold_what_the_folder_holds(tars, settings, alone):
    by_content = {}
    for config in (settings(), settings(data=str(tars), reader="tar")):
        for split in ("train", "val"):
            source = open_source(config, split)
            assert source.classes == sorted(source.classes)
            found = {(label, p.tobytes()) for p, label in map(source.open, range(source.n))}
            by_content.setdefault(split, []).append(found)
    for folder, tar in by_content.values():
        assert folder == tar


def test_tar_files_can_be_read_by_workers_and_by_share(tars, settings, alone):
    config = settings(data=str(tars), reader="tar", workers=2, data_ratio=0.5)
    feed = Feed(config, alone)
    assert feed.n_train == 72
    assert torch.bincount(torch.cat([i.labels for i in feed.test()])).tolist() == [6] + [5] * 5


def test_classes_of_tar_files_are_in_the_order_of_their_names(photographs, settings, tmp_path):
    source = photographs / "val/rocket/00.jpg"
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as file:
            for name in ("class10", "class9", "class1"):
                file.add(source, arcname=f"{name}/0.jpg")
    found = open_source(settings(data=str(tmp_path), reader="tar"), "train")
    assert found.classes == ["class1", "class10", "class9"]
    names = [found.classes[found.open(row)[1]] for row in range(3)]
    assert sorted(names) == found.classes


def test_tar_files_that_differ_in_their_classes_say_so(photographs, settings, alone, tmp_path):
    source = photographs / "val/rocket/00.jpg"
    for split, names in (("train", "ab"), ("val", "ac")):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as file:
            for name in names:
                file.add(source, arcname=f"{name}/0.jpg")
    config = settings(data=str(tmp_path), reader="tar")
    with pytest.raises(ValueError, match="has other classes in val than in train: 2, such as a"):
        Feed(config, alone)


def test_shards_hold_the_pixels_and_labels_of_the_folder(settings, photographs, tmp_path):
    names = sorted(path.name for path in (photographs / "train").iterdir())
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}-0.tar", "w") as tar:
            for i, path in enumerate(sorted((photographs / split).rglob("*.jpg"))):
                tar.add(path, f"{i:05d}.jpg")
                label = str(names.index(path.parent.name)).encode()
                info = tarfile.TarInfo(f"{i:05d}.cls")
                info.size = len(label)
                tar.addfile(info, io.BytesIO(label))
    (tmp_path / "classes.txt").write_text("\n".join(names))
    config = settings(data=str(tmp_path), reader="wds", data_ratio=0.5)
    source, folder = open_source(config, "train"), open_source(settings(), "train")
    assert (source.classes, list(source.labels)) == (folder.classes, list(folder.labels))
    for row in (0, 70, 143):
        np.testing.assert_array_equal(*(np.asarray(one.open(row)[0]) for one in (source, folder)))
    assert open_source(config, "val", source.classes).n == 31
    with pytest.raises(ValueError, match=r"class numbers up to 5 in val, but 2 classes in train"):
        open_source(config, "val", names[:2])
