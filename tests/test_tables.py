"""Tables: no row is dropped or invented, and what is refused is named with its line."""

import io
import sys

import numpy as np
import pytest

from skdidicm.tables import TableError, read_table, readable, safe_cell

pandas = pytest.importorskip("pandas")


def read(text, name="rows.csv", **options):
    return read_table(text.encode() if isinstance(text, str) else text, name, **options)


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("1,2\n3,4\n", None, [[1, 2], [3, 4]]),
        ("ash,hue\n1,2\n3,4\n", ("ash", "hue"), [[1, 2], [3, 4]]),
        ('"ash, dry",hue\n1,2\n', ("ash, dry", "hue"), [[1, 2]]),
        ("\ufeffash,hue\n1,2\n", ("ash", "hue"), [[1, 2]]),
        ("1,2\r\n3,4\r\n\r\n", None, [[1, 2], [3, 4]]),
        ("1,2\r3,4\r", None, [[1, 2], [3, 4]]),
        ("\n\n1,2\n\n3,4", None, [[1, 2], [3, 4]]),
        (" 1 , 2e-3\n-3,+4\n", None, [[1, 0.002], [-3, 4]]),
        ('"1","2"\n"3","4"\n', None, [[1, 2], [3, 4]]),
        ("x\n1\n2\n", ("x",), [[1], [2]]),
        ("0\n1\n2\n", None, [[0], [1], [2]]),
        ("0,1.0\n2,3\n", None, [[0, 1], [2, 3]]),
        ("1,0\n2,3\n", None, [[1, 0], [2, 3]]),
    ],
)
def test_every_row_is_read_and_no_other(text, names, rows):
    table = read(text)
    assert table.names == names
    np.testing.assert_array_equal(table.numbers, rows)
    assert table.labels == ()


@pytest.mark.parametrize("seed", range(5))
def test_what_pandas_writes_is_read_exactly(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, 3)) * 10.0 ** rng.integers(-300, 300, (20, 3))
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    np.testing.assert_allclose(read(frame.to_csv(index=False)).numbers, X, rtol=1e-15)
    np.testing.assert_allclose(read(frame.to_csv(index=False, header=False)).numbers, X, rtol=1e-15)
    tabs = frame.to_csv(index=False, sep="\t")
    np.testing.assert_allclose(read(tabs, "rows.tsv").numbers, X, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("ash,hue\n", "has no rows"),
        ("0,1,2\n5,6,7\n", "line 1 is 0,1,2, a row or the column numbers that pandas writes"),
        ("1,\n3,4\n", "line 1 has the cell '', which is no number"),
        (",2\n3,4\n", "line 1 has the cell '', which is no number"),
        (",ash\n0,1\n", "line 1 has the cell '', which is no number"),
        ("1,x\n3,4\n", "line 1 has the cell 'x', which is no number"),
        ("True,False\n1,0\n", "line 1 has the cell 'True', which is no number"),
        ("1,2\n3,x\n", "line 2 has 'x' in column 2"),
        ("1,2\n\n3,\n", "line 3 has '' in column 2"),
        ("a,b\n1,2\nnan,4\n", "line 3 has 'nan' in column 1"),
        ("1,2\n3,inf\n", "line 2 has 'inf' in column 2"),
        ("1,2\n3,1e999\n", "line 2 has '1e999' in column 2"),
        ("1,2\n3,True\n", "line 2 has 'True' in column 2"),
        ("1,2\n3,1_0\n", "line 2 has '1_0' in column 2"),
        ("1,2\n3\n", "line 2 has 1 cells; expected 2"),
        ("1,2\n3,4,5\n", "line 2 has 3 cells; expected 2"),
        ("a,b\n1,2,3\n", "line 1 has 2 column names, but the rows have 3 cells"),
        ("a,b,c\n1,2\n", "line 1 has 3 column names, but the rows have 2 cells"),
        ("1;2\n3;4\n", "line 1 has semicolons (1;2); expected commas"),
        ("1,5;2,5\n", "line 1 has semicolons (1,5;2,5); expected commas"),
        ("a;b\n1;2\n", "line 1 has semicolons (a;b); expected commas"),
        ("1\t2\n", "line 1 has tabs"),
        ("1|2\n", "line 1 has vertical bars"),
        ('"1\n2",3\n', "line 1 ends inside quotes"),
        ("gr\xfcn,b\n1,2\n".encode("latin-1"), "line 1 is not UTF-8 text (byte 0xfc)"),
        ("a,b\n1,2\n3,\xfc\n".encode("latin-1"), "line 3 is not UTF-8 text (byte 0xfc)"),
        ("1,2\n".encode("utf-16"), "line 1 is not UTF-8 text (byte 0xff)"),
        (b"1,2\n3,\x00\n", "line 2"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text, reason):
    with pytest.raises(TableError) as raised:
        read(text)
    assert str(raised.value).startswith("rows.csv")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_lines_are_counted_as_an_editor_counts_them():
    with pytest.raises(TableError, match="line 5 has 'x' in column 1"):
        read('a,b\n1,2\n\n"3",4\nx,6\n')
    with pytest.raises(TableError, match="line 4 has 'x' in column 1"):
        read("\n\n1,2\nx,6\n")
    with pytest.raises(TableError, match="line 3 has the cell 'x'"):
        read("\n\n1,x\n2,6\n")


def test_the_rule_for_the_header_can_be_given():
    counted = "0,1,2\n5,6,7\n"
    assert read(counted, header=True).names == ("0", "1", "2")
    np.testing.assert_array_equal(read(counted, header=True).numbers, [[5, 6, 7]])
    np.testing.assert_array_equal(read(counted, header=False).numbers, [[0, 1, 2], [5, 6, 7]])
    assert read("1,\n3,4\n", header=True).names == ("1", "")
    with pytest.raises(TableError, match="line 1 has 'a' in column 1"):
        read("a,b\n1,2\n", header=False)


def test_names_are_checked_against_those_of_the_training():
    assert read("1st,2\n3,4\n", columns=("1st", "2")).names == ("1st", "2")
    with pytest.raises(TableError, match="has the columns hue, ash; expected .*: ash, hue"):
        read("hue,ash\n1,2\n", columns=("ash", "hue"))
    assert read("3,4\n", columns=("ash", "hue")).names is None
    with pytest.raises(TableError, match="has the columns a, b; expected"):
        read("a,b\n1,2\n", columns=("ash", "hue"), header=True)


def test_the_last_column_may_be_a_label():
    table = read('w,h,kind\n1,2,cat\n3,4,"dog, old"\n5,6,7\n', labelled=True)
    assert table.names == ("w", "h", "kind")
    assert table.labels == ("cat", "dog, old", "7")
    np.testing.assert_array_equal(table.numbers, [[1, 2], [3, 4], [5, 6]])
    assert read("1,2,cat\n", labelled=True).labels == ("cat",)
    assert read("0,1,cat\n", labelled=True).labels == ("cat",)
    assert read("1,2,True\n", labelled=True).labels == ("True",)
    for text, reason in (
        ("1,x,cat\n", "line 1 has the cell 'x'"),
        ("1,2,cat\n3,x,dog\n", "line 2 has 'x' in column 2"),
        ("1,2,cat\n3,4\n", "line 2 has 2 cells"),
        ("1,2,cat\n3,4,\n", "line 2 has 3 cells and the label ''; expected numbers"),
        ("cat\ndog\n", "expected numbers and, in the last column, a label"),
    ):
        with pytest.raises(TableError, match=reason):
            read(text, labelled=True)


def test_without_pandas_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'rows.csv is read .* pip install "skdidicm\[tables\]"'):
        read("1,2\n")


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "--"])
def test_formulas_are_texts_in_a_spreadsheet(text):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+1", "-1e-3", "cat", "", "-", "a=b"])
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert safe_cell(text) == text


def test_names_that_are_not_utf_8_can_be_written():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert readable(name) == r"caf\xe9"
    assert safe_cell(name) == r"caf\xe9"
    assert readable("café") == "café"
    io.TextIOWrapper(io.BytesIO(), encoding="utf-8").write(readable(name))
