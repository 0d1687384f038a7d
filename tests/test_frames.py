"""Tables of mixed columns: types are those that a reader would guess, and what is bad is named."""

import numpy as np
import pytest

from skdidicm.frames import load_table, read_frame
from skdidicm.tables import TableError

pd = pytest.importorskip("pandas")

TEXT = "id,age,city,zip,ok,kind\n" + "".join(
    f"{i},{'?' if i % 5 == 0 else 20 + i},{'' if i == 3 else 'Rome'},0{i % 3},"
    f"{'' if i == 4 else i % 2 == 0},{'ab'[i % 2]}\n"
    for i in range(20)
)


@pytest.fixture
def file(tmp_path):
    def write(text, name="rows.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_types_and_gaps_are_guessed():
    frame = read_frame(TEXT.encode(), "rows.csv", texts=["zip"])
    assert frame.age.isna().sum() == 4
    assert frame.age.dtype == float
    assert frame.city.isna().sum() == 1
    assert set(frame.ok.dropna()) == {True, False}
    assert set(frame.zip) == {"00", "01", "02"}


def test_tabs_a_byte_order_mark_and_parquet_are_read(tmp_path):
    expected = read_frame(TEXT.encode(), "rows.csv")
    tabs = b"\xef\xbb\xbf" + TEXT.replace(",", "\t").encode()
    pd.testing.assert_frame_equal(read_frame(tabs, "rows.tsv"), expected)
    pytest.importorskip("pyarrow")
    expected.to_parquet(tmp_path / "rows.parquet")
    found = read_frame((tmp_path / "rows.parquet").read_bytes(), "rows.parquet")
    np.testing.assert_array_equal(found.isna(), expected.isna())
    pd.testing.assert_frame_equal(found.dropna(), expected.dropna())


def test_the_index_that_pandas_writes_is_left_out():
    frame = pd.DataFrame({"a": [1, 2]})
    read = read_frame(frame.to_csv().encode(), "rows.csv")
    pd.testing.assert_frame_equal(read, frame)


def test_numbers_that_begin_with_zero_are_codes(file):
    text = "zip,share,y\n" + "".join(
        f"{'' if i == 3 else f'0{i % 4}'},0.{i},{i % 2}\n" for i in range(20)
    )
    split = load_table(file(text), "y")
    assert set(split.X_train.zip.dropna()) == {"00", "01", "02", "03"}
    assert split.X_train.share.dtype == float
    assert read_frame(text.encode(), "rows.csv").zip.dtype == float  # unless they are asked for
    quoted = b'zip,class\r\n"01002",a\r\n"21002",b\r\n'
    assert read_frame(quoted, "rows.csv", codes=True).zip.tolist() == ["01002", "21002"]
    spaced = b"class,zip\na, 01002\nb, 21002\n"
    assert read_frame(spaced, "rows.csv", codes=True).zip.tolist() == ["01002", "21002"]


def test_dates_may_be_chosen_as_categories(file):
    text = TEXT.replace(",Rome,", ",2024-02-29,")
    split = load_table(file(text), "kind", categories=["city"])
    assert split.X_train.city.dtype == "category"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a table"),
        (b"a;b\n1;2\n", "one column with the name 'a;b'; expected commas"),
        (b"1,2\n3,4\n", "line 1 of rows.csv holds numbers; expected the names"),
        (b"a,b\n1,2,3\n4,5,6\n", "more cells than line 1 has names"),
        (b"a,b\n1,2\n1,2,3\n", "cannot be read as a table .*line 3"),
        (b"a,b\n\xff,2\n", "cannot be read as a table .*expected CSV in UTF-8"),
        (b"PAR1 and no more", "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_refused(content, message):
    with pytest.raises(TableError, match=message) as caught:
        read_frame(content, "rows.csv")
    assert "\n" not in str(caught.value)


def test_rows_are_split_by_class_and_none_is_lost(file):
    text = TEXT + "20,1,Rome,00,True,\n"  # without a target
    split = load_table(file(text), "kind", dropped=["id"], categories=["zip"], seed=1)
    assert (len(split.X_train), len(split.X_test)) == (16, 4)
    assert list(split.X_train) == ["age", "city", "zip", "ok"]
    assert sorted(split.y_test) == ["a", "a", "b", "b"]
    again = load_table(file(text), "kind", dropped=["id"], categories=["zip"], seed=1)
    pd.testing.assert_frame_equal(again.X_test, split.X_test)
    whole = load_table(file(text), "kind", seed=1)
    assert sorted([*whole.X_train.id, *whole.X_test.id]) == list(range(20))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "", "2", "1", "2"] * 4, [1, 2]),  # floats in pandas, since one is missing
        (["True", "False"] * 10, [False, True]),
        (["yes", "no"] * 10, ["no", "yes"]),
    ],
)
def test_classes_are_integers_booleans_or_text(file, values, expected):
    text = "a,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))
    split = load_table(file(text), "y")
    assert np.unique(split.y_train).tolist() == expected


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        ({}, "age ", "has no column 'age '; its columns are id, age"),
        ({"kind": "price"}, "kind", "has no column 'kind'"),
        ({"\n0,": "\n0.5,"}, "id", "holds numbers such as 0.5; expected classes"),
        ({",a\n": ",\n", ",b\n": ",\n"}, "kind", "column 'kind' .* is empty"),
        ({",Rome,": ",29.2.2024,", ",,0": ",1.3.2024,0"}, "kind", "holds dates \\(29.2.2024\\)"),
        ({}, "id", "has the class 0 in 1 of 20 rows; expected two classes"),
        ({",Rome,": ",2024-02-29,", ",,0": ",2024-02-29T10:00,0"}, "kind",
            "column 'city' .* holds dates .*; leave it out with --drop city"),
    ],
)  # fmt: skip
def test_a_target_or_column_that_cannot_be_used_is_named(file, change, target, message):
    text = TEXT
    for old, new in change.items():
        text = text.replace(old, new)
    with pytest.raises(TableError, match=message) as caught:
        load_table(file(text), target)
    assert "\n" not in str(caught.value)


def test_a_table_of_the_target_only_is_refused(file):
    with pytest.raises(TableError, match="no column but the target"):
        load_table(file("y\na\nb\n"), "y")
