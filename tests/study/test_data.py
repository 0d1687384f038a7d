"""The rows of cells: what is the same, what differs, and what is refused."""

import numpy as np
import pytest

from skdidicm.study.data import load
from skdidicm.study.grid import Cell
from skdidicm.study.photos import PHOTOGRAPHS, load_photos


def cell(data="digits", **changes):
    place = {"n": None, "noise": 0.0, "resolution": None, "seed": 0, "method": "didicm"}
    return Cell(data, **(place | changes))


@pytest.mark.parametrize(
    ("data", "columns", "classes"),
    [("iris", 4, 3), ("wine", 13, 3), ("digits-table", 64, 10), ("covtype-like", 54, 7)],
)
def test_tables_are_in_units_of_their_training_rows(data, columns, classes):
    split = load(cell(data))
    assert split.X_train.shape[1:] == split.X_test.shape[1:] == (columns,)
    assert len(np.unique(split.y_train)) == len(np.unique(split.y_test)) == classes
    np.testing.assert_allclose(split.X_train.mean(axis=0), 0, atol=1e-8)
    std = split.X_train.std(axis=0)
    np.testing.assert_allclose(std[std > 0], 1)


def test_a_ratio_takes_that_share_of_every_class_and_leaves_the_test_rows():
    whole, half = load(cell()), load(cell(ratio=0.5))
    counts = np.bincount(whole.y_train), np.bincount(half.y_train)
    np.testing.assert_array_equal(counts[1], counts[0] // 2)
    np.testing.assert_array_equal(half.X_test, whole.X_test)
    rows = {row.tobytes() for row in whole.X_train}
    assert all(row.tobytes() in rows for row in half.X_train)


def test_photographs_have_no_pixel_of_a_test_row_in_a_training_row(monkeypatch):
    Image = pytest.importorskip("PIL.Image")
    pytest.importorskip("skimage")
    columns = np.tile(np.arange(240, dtype=np.uint8), (240, 1))  # a pixel tells its column
    monkeypatch.setattr("skdidicm.study.photos._photograph", lambda _: Image.fromarray(columns))
    split = load_photos(size=16, n_train=20, n_test=20)
    for label in range(9):
        train, test = split.X_train[split.y_train == label], split.X_test[split.y_test == label]
        assert train.max() < 80 * (label % 3) + 48 <= test.min()


@pytest.mark.imagenet
def test_photographs_are_144_classes_that_a_seed_decides():
    pytest.importorskip("skimage")
    split, again, other = load_photos(3), load_photos(3), load_photos(4)
    assert len(split.class_names) == len(np.unique(split.y_test)) == 9 * len(PHOTOGRAPHS) == 144
    assert split.X_train.shape == (144 * 60, 16, 16)
    np.testing.assert_array_equal(split.X_test, again.X_test)
    assert (split.X_test != other.X_test).mean() > 0.5


@pytest.mark.imagenet
def test_corruption_is_of_a_row_whatever_the_others_and_leaves_the_global_generator():
    pytest.importorskip("imagecorruptions")
    change = {"corruption": "gaussian_noise:3", "resolution": 16}
    np.random.seed(7)
    few, more = (load(cell(n=n, **change)) for n in (40, 60))
    drawn = np.random.random()
    np.random.seed(7)
    assert drawn == np.random.random()
    assert few.X_train.shape == (40, 16, 16)
    np.testing.assert_array_equal(few.X_train, more.X_train[:40])
    np.testing.assert_array_equal(few.X_test, more.X_test)
    plain = load(cell(n=40)).X_train.repeat(2, axis=1).repeat(2, axis=2)
    assert 0.01 < np.abs(few.X_train - plain).mean() < 0.2


@pytest.fixture
def tree(tmp_path, rng):
    Image = pytest.importorskip("PIL.Image")
    for i, name in enumerate(("cat", "dog")):
        for part, n in (("train", 4), ("val", 2)):
            (tmp_path / part / name).mkdir(parents=True)
            for j in range(n):
                pixels = np.full((30, 40, 3), 50 * (i + 1) + j, np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{j}.png")
    return tmp_path


def test_any_folder_of_pictures_is_read_at_the_resolution(tree):
    split = load(cell(f"folder:{tree}", resolution=8))
    assert split.X_train.shape == (8, 8, 8, 3)
    assert split.class_names == ("cat", "dog")
    found = sorted(
        (round(255 * x.mean()), y) for x, y in zip(split.X_test, split.y_test, strict=True)
    )
    assert found == [(50, 0), (51, 0), (100, 1), (101, 1)]
    single = load(cell(f"folder:{tree / 'train'}", resolution=8))
    assert len(single.X_train) + len(single.X_test) == 8


@pytest.mark.parametrize("head", ["", "length,width,kind\n"])
def test_any_table_is_read_with_its_last_column_as_the_class(tmp_path, head):
    path = tmp_path / "iris.csv"
    rows = [(length, width, "ab"[length % 2]) for length in range(4) for width in range(5)]
    path.write_text(head + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    split = load(cell(f"table:{path}"))
    assert split.class_names == ("a", "b")
    assert len(split.X_train) == 14
    assert len(split.X_test) == 6
    np.testing.assert_allclose(split.X_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(split.X_train.std(axis=0), 1)
    lengths = np.concatenate([split.X_train, split.X_test])[:, 0]
    labels = np.concatenate([split.y_train, split.y_test])
    order = np.unique(lengths, return_inverse=True)[1]  # standardised, but in the same order
    np.testing.assert_array_equal(order % 2, labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected"),
        ("a\nb\n", "in the last column, a label"),
        ("1,2,a\n3,b\n", "line 2 has 2 cells; expected 3"),
        ("1,red,a\n3,4,b\n", "line 1 has the cell 'red'"),
        ("1,nan,a\n3,4,b\n", "line 1 has 'nan' in column 2"),
        ("1,2,a\n3,4,a\n", "1 classes"),
        ("1,2,a\n3,4,b\n5,6,b\n", "'a'.* with a single row"),
        (None, "is not a file"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load(cell(f"table:{path}"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratio": 0.0}, "ratio is 0.0; expected a share"),
        ({"n": 5}, "have none of"),
        ({"data": "folder:/nowhere"}, "has no resolution; expected"),
        ({"data": "folder:/nowhere", "resolution": 8}, "is no folder"),
    ],
)
def test_rows_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        load(cell(**change))


@pytest.mark.imagenet
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corruption": "impulse_noise:1"}, "cannot be repeated from a seed"),
        ({"data": "wine", "corruption": "fog:1"}, "the data is a table"),
    ],
)
def test_corruptions_that_cannot_be_are_refused(change, message):
    pytest.importorskip("imagecorruptions")
    with pytest.raises(ValueError, match=message):
        load(cell(**change))


def test_test_rows_are_the_same_for_every_method_and_number_of_rows():
    small, large = (load(Cell("digits", n, 0.5, 4, 3, "didicm")) for n in (40, 80))
    np.testing.assert_array_equal(small.X_test, large.X_test)
    np.testing.assert_array_equal(small.y_train, large.y_train[:40])
    assert small.X_train.shape == (40, 4, 4)


def test_noise_is_in_standard_deviations_and_pictures_are_averaged():
    clean, noisy = (load(Cell("digits", None, noise, 4, 0, "didicm")) for noise in (0.0, 0.5))
    full = load(Cell("digits", None, 0.0, None, 0, "didicm"))
    np.testing.assert_allclose(clean.X_train[0, 0, 1], full.X_train[0, :2, 2:4].mean(), rtol=1e-5)
    found = (noisy.X_train - clean.X_train).std()
    assert found == pytest.approx(0.5 * full.X_train.std(), rel=0.02)
