"""Rows of files, in the shape that a model takes."""

import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest

from skdidicm.predict.inputs import RowFormat, read_rows

TABLE = RowFormat(shape=(2,))
ROWS = np.array([[1.5, 2.0], [3.0, -4.0]])


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def numbers(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path / "rows.npy"


@pytest.mark.parametrize(
    "given", [ROWS, ROWS.astype(np.float32), np.asfortranarray(ROWS), ROWS.astype(">f8")]
)
def test_an_array_is_read_as_numpy_reads_it(tmp_path, given):
    np.save(tmp_path / "rows.npy", given)
    found = read_rows(tmp_path / "rows.npy", TABLE)
    np.testing.assert_array_equal(found, np.load(tmp_path / "rows.npy"))
    assert found.dtype.isnative


@pytest.mark.parametrize(
    ("shape", "held", "expected"),
    [((2, 3), (2, 3), (1, 2, 3)), ((2, 3), (6,), (1, 2, 3)), ((2, 3), (4, 6), (4, 2, 3)),
     ((2, 3), (4, 2, 3), (4, 2, 3)), ((6,), (6,), (1, 6)), ((6,), (0, 6), (0, 6))],
)  # fmt: skip
def test_single_and_flattened_rows_take_the_shape_of_the_model(tmp_path, shape, held, expected):
    values = np.arange(float(np.prod(held))).reshape(held)
    np.save(tmp_path / "rows.npy", values)
    found = read_rows(tmp_path / "rows.npy", RowFormat(shape=shape))
    assert found.shape == expected
    np.testing.assert_array_equal(found.ravel(), values.ravel())


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "1.5,2\n3,-4\n"), ("a.tsv", "1.5\t2\n3\t-4\n"), ("a.csv", "x,y\n1.5,2\n3,-4\n")],
)
def test_tables_are_read_with_and_without_names(tmp_path, name, text):
    np.testing.assert_array_equal(read_rows(written(tmp_path / name, text), TABLE), ROWS)


def test_a_model_of_columns_finds_them_by_their_names(tmp_path):
    pd = pytest.importorskip("pandas")
    model = RowFormat(shape=(2,), columns=("city", "age"), categories=("city",))
    path = written(tmp_path / "a.csv", "age,note,city\n41,x,Lyon\n,y,\n")
    found = read_rows(path, model)
    assert list(found) == ["city", "age"]
    assert found["city"].tolist()[0] == "Lyon"
    assert found.isna().to_numpy().tolist() == [[False, False], [True, True]]
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"age": [41.0, None], "city": ["Lyon", None]})
    frame.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(
        read_rows(tmp_path / "a.parquet", model), found, check_dtype=False
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("age,town\n1,Lyon\n", "lacks the columns city"), ("city,age\n", "has no rows")],
)
def test_a_table_that_does_not_have_the_columns_is_refused(tmp_path, text, message):
    pytest.importorskip("pandas")
    model = RowFormat(shape=(2,), columns=("city", "age"), categories=("city",))
    with pytest.raises(ValueError, match=message):
        read_rows(written(tmp_path / "a.csv", text), model)


def test_a_model_of_numbers_takes_them_from_parquet(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pd.DataFrame(ROWS, columns=["x", "y"]).to_parquet(tmp_path / "a.parquet")
    found = read_rows(tmp_path / "a.parquet", RowFormat(shape=(2,), columns=("x", "y")))
    np.testing.assert_array_equal(found, ROWS)


@pytest.fixture
def picture(rng):
    """Pixels (12, 20, 3), and a function that writes them to a file."""
    image = pytest.importorskip("PIL.Image")
    pixels = rng.integers(0, 256, (12, 20, 3)).astype(np.uint8)

    def save(path):
        image.fromarray(pixels).save(path)
        return path

    return pixels, save


def test_the_centre_of_a_picture_in_colour_fills_the_rows_of_a_square_model(tmp_path, picture):
    pixels, save = picture
    found = read_rows(save(tmp_path / "a.png"), RowFormat(shape=(12, 12, 3)))
    np.testing.assert_array_equal(found, pixels[None, :, 4:16])


def test_other_models_take_the_whole_picture_by_averaging(tmp_path, picture):
    pixels, save = picture
    found = read_rows(save(tmp_path / "a.png"), RowFormat(shape=(6, 10, 3)))
    means = pixels.reshape(6, 2, 10, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(found[0], means, atol=1)


def test_pixels_have_the_range_of_the_training(tmp_path, picture):
    pixels, save = picture
    model = RowFormat(shape=(12, 20, 3), pixel_max=1)
    found = read_rows(save(tmp_path / "a.png"), model)
    np.testing.assert_allclose(found, pixels[None] / 255, rtol=1e-6)


def test_standard_input_is_recognised_by_its_content(monkeypatch, numbers, tmp_path, picture):
    contents = {"array": numbers.read_bytes(), "table": b"1.5,2\n3,-4\n"}
    for content in contents.values():
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(content)))
        np.testing.assert_array_equal(read_rows(Path("-"), TABLE), ROWS)
    pixels, save = picture
    content = save(tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(content)))
    found = read_rows(Path("-"), RowFormat(shape=(12, 20, 3)))
    np.testing.assert_array_equal(found, pixels[None])


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1,)])
def test_rows_of_another_shape_name_the_file_and_both_shapes(numbers, shape):
    with pytest.raises(ValueError, match=r"rows\.npy .*shape \(2, 2\).* rows of shape") as caught:
        read_rows(numbers, RowFormat(shape=(*shape, 5)))
    assert "\n" not in str(caught.value)


def test_a_picture_is_refused_by_a_model_of_tables(tmp_path, picture):
    with pytest.raises(ValueError, match="takes no images but rows of shape"):
        read_rows(picture[1](tmp_path / "a.png"), TABLE)


def test_objects_in_an_array_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="values of type object; expected an array of numbers"):
        read_rows(tmp_path / "a.npy", TABLE)
