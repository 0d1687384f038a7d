import io
from pathlib import Path

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_image_folder

Image = pytest.importorskip("PIL.Image")

QUICK = {"max_epochs": 2, "random_state": 0, "image_size": 16}
N = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of different sizes, red or blue by class."""
    root, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for i in range(N):
        name = ("blue", "red")[i % 2]
        pixels = rng.integers(0, 100, (20 + i, 33 - i, 3), dtype=np.uint8)
        pixels[..., 2 * (1 - i % 2)] += 120
        (root / name).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def rows(folder):
    return load_image_folder(folder, 16)


@pytest.fixture(scope="module")
def fitted(rows):
    return DiDiClassifier(**QUICK).fit(rows.X, rows.y)


class Items:
    """A data set of torch: items by number, and a length."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


FORMS = {
    "files": lambda rows: list(rows.files),
    "array of files": lambda rows: np.array(rows.files),
    "opened pictures": lambda rows: [Image.open(file) for file in rows.files],
    "data set": lambda rows: Items(
        [(Image.open(f), y) for f, y in zip(rows.files, rows.y, strict=True)]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_pictures_is_the_same_as_the_array_of_them(form, rows, fitted):
    X = FORMS[form](rows)
    own = DiDiClassifier(**QUICK).fit(X, rows.y)
    assert own.input_shape_ == (16, 16, 3)
    expected = fitted.predict_proba(rows.X)
    np.testing.assert_array_equal(own.predict_proba(X), expected)
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)
    np.testing.assert_array_equal(own.predict_path(X), fitted.predict_path(rows.X))


def test_a_data_frame_column_of_files_is_a_list_of_them(rows, fitted):
    pd = pytest.importorskip("pandas")
    column = pd.Series(rows.files, index=np.arange(N) + 5)
    np.testing.assert_array_equal(fitted.predict(column), fitted.predict(rows.X))


class TestADataSetOfPairs:
    def test_brings_its_labels(self, rows, fitted):
        data = FORMS["data set"](rows)
        own = DiDiClassifier(**QUICK).fit(data)
        assert own.classes_.tolist() == ["blue", "red"]
        np.testing.assert_array_equal(own.predict_proba(data), fitted.predict_proba(rows.X))

    def test_may_have_tensors_with_channels_first(self, rows, fitted):
        torch = pytest.importorskip("torch")
        pixels = [torch.tensor(x).permute(2, 0, 1) / 255 for x in rows.X]
        data = Items([(p, int(y == "red")) for p, y in zip(pixels, rows.y, strict=True)])
        own = DiDiClassifier(**QUICK).fit(data)
        assert own.classes_.tolist() == [0, 1]
        np.testing.assert_array_equal(own.predict_proba(data), fitted.predict_proba(rows.X))

    def test_says_that_normalised_tensors_are_none(self, rows):
        torch = pytest.importorskip("torch")
        data = Items([(torch.tensor(x).permute(2, 0, 1) / 60 - 2, 0) for x in rows.X])
        with pytest.raises(ValueError, match="Leave Normalize out"):
            DiDiClassifier(**QUICK).fit(data, rows.y)

    def test_is_not_read_for_labels_that_it_lists(self, rows):
        class Listed(Items):
            targets = [0, 1] * (N // 2)

        data = Listed([(file, 99) for file in rows.files])
        assert DiDiClassifier(**QUICK).fit(data).classes_.tolist() == [0, 1]


class TestTheSize:
    def test_is_by_default_the_median_shorter_side(self, rows):
        sizes = []
        for file in rows.files:
            with Image.open(file) as picture:
                sizes.append(min(picture.size))
        own = DiDiClassifier(max_epochs=1).fit(list(rows.files), rows.y)
        assert own.input_shape_[0] == int(np.median(sizes))
        assert own.resolved_params_["image_size"] == own.input_shape_[0]

    def test_is_that_of_a_pretrained_network(self, rows, tmp_path):
        timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
        network = timm.create_model("test_efficientnet", num_classes=0)
        torch.save(network.state_dict(), tmp_path / "w.pth")
        start = {"network": "timm/test_efficientnet", "pretrained": tmp_path / "w.pth"}
        own = DiDiClassifier(**start, max_epochs=1, random_state=0).fit(list(rows.files), rows.y)
        assert own.input_shape_ == (160, 160, 3)  # of timm's configuration
        whole = load_image_folder(rows_folder(rows), 160).X
        same = DiDiClassifier(**start, max_epochs=1, random_state=0).fit(whole, rows.y)
        np.testing.assert_array_equal(
            own.predict_proba(list(rows.files)), same.predict_proba(whole)
        )

    @pytest.mark.parametrize("size", [0, 2.5, "large"])
    def test_that_is_none_is_refused(self, rows, size):
        with pytest.raises(ValueError, match="image_size is"):
            DiDiClassifier(image_size=size).fit(list(rows.files), rows.y)


def rows_folder(rows):
    return Path(rows.files[0]).parents[1]


def test_a_frozen_network_never_holds_more_than_a_chunk_of_pictures(rows, tmp_path, monkeypatch):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from skdidicm.pictures import Pictures

    network = timm.create_model("test_efficientnet", num_classes=0)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    largest, read = [], Pictures.__getitem__

    def counted(self, chosen):
        found = read(self, chosen)
        largest.append(len(found))
        return found

    monkeypatch.setattr(Pictures, "__getitem__", counted)
    many, y = list(rows.files) * 10, np.tile(rows.y, 10)
    start = {"network": "timm/test_efficientnet", "pretrained": tmp_path / "w.pth"}
    DiDiClassifier(**start, image_size=64, max_epochs=1).fit(many, y).predict(many)
    assert sum(largest) >= 2 * len(many)
    assert max(largest) < len(many)


def test_pictures_that_do_not_fit_into_memory_are_refused(rows):
    files = list(rows.files) * 10
    with pytest.raises(ValueError, match="GB when decoded, and this machine has"):
        DiDiClassifier(image_size=2**19).fit(files, np.tile(rows.y, 10))


def test_a_damaged_file_is_named(rows, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.jpg cannot be read as a picture"):
        DiDiClassifier(**QUICK).fit([*rows.files[1:], tmp_path / "bad.jpg"], rows.y)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: [file, None], "an item of X is a NoneType"),
        (lambda file: [io.BytesIO(file.read_bytes())], r"BytesIO objects; pass the paths"),
        (lambda file: [file.read_bytes()], r"bytes objects; pass the paths"),
        (lambda _: Items([np.zeros((3, 20, 20), np.uint8)] * 2), "array .height, width, channels"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_way_in(change, words, rows, fitted):
    with pytest.raises(ValueError, match=words):
        fitted.predict(change(Path(rows.files[0])))


def test_pictures_and_arrays_may_be_mixed(rows, fitted):
    mixed = [rows.files[0], *rows.X[1:3], Image.open(rows.files[3])]
    np.testing.assert_array_equal(fitted.predict_proba(mixed), fitted.predict_proba(rows.X[:4]))


def test_a_model_of_tables_takes_no_pictures(rows):
    model = DiDiClassifier(max_epochs=1).fit(np.eye(4), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="fitted on rows of shape"):
        model.predict(list(rows.files))


class Loader:
    dataset, batch_size = (), 4


class TensorFlowData:
    def as_numpy_iterator(self):
        raise AssertionError


class HuggingFaceData:
    column_names = ("picture", "species")
    features = {"picture": type("Image", (), {})(), "species": type("ClassLabel", (), {})()}  # noqa: RUF012


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Loader(), r"pass its data set: fit\(loader\.dataset\)"),
        (TensorFlowData(), r"zip\(\*data\.unbatch"),
        (HuggingFaceData(), r"fit\(data\['picture'\], data\['species'\]\)"),
    ],
)
def test_loaders_are_refused_with_the_way_in(data, words, fitted):
    with pytest.raises(ValueError, match=words):
        DiDiClassifier().fit(data)
    with pytest.raises(ValueError, match=words):
        fitted.predict(data)


def test_columns_of_a_table_may_have_any_name():
    pd = pytest.importorskip("pandas")
    columns = ["dataset", "batch_size", "features", "column_names", "as_numpy_iterator"]
    table = pd.DataFrame(np.eye(5), columns=columns)
    DiDiClassifier(max_epochs=1).fit(table, [0, 1, 0, 1, 0]).predict(table)


def test_a_saved_model_takes_files(rows, fitted, tmp_path):
    fitted.save(tmp_path / "m.skd")
    again = DiDiClassifier.load(tmp_path / "m.skd")
    np.testing.assert_array_equal(again.predict(list(rows.files)), fitted.predict(rows.X))
