"""The file with the rows of a study: one row per cell, whatever happened while it was written."""

import json

import pytest

from skdidicm.study import Cell
from skdidicm.study.rows import append, cell_of, finished


def row(seed, **figures):
    place = {"data": "wine", "n": None, "noise": 0.0, "resolution": None, "seed": seed}
    rest = {"budget": "auto", "corruption": None, "ratio": 1.0, "steps": None}
    return place | {"method": "didicm"} | rest | figures


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cells.jsonl"


def test_rows_are_read_as_they_were_written(path):
    assert finished(path) == []
    append(path, [row(0, nll=0.5)])
    append(path, [row(1, nll=0.25), row(2, nll=1.5)])
    assert finished(path) == [row(0, nll=0.5), row(1, nll=0.25), row(2, nll=1.5)]
    assert cell_of(row(2)) == Cell("wine", None, 0.0, None, 2, "didicm")


def test_of_two_rows_of_a_cell_the_first_counts(path):
    append(path, [row(0, nll=0.5), row(1, nll=0.25), row(0, nll=9.0)])
    assert finished(path) == [row(0, nll=0.5), row(1, nll=0.25)]


def test_rows_of_older_files_lack_some_columns(path):
    old = row(0, nll=0.5)
    for name in ("corruption", "ratio", "steps"):
        del old[name]
    path.write_text(json.dumps(old) + "\n")
    assert finished(path) == [row(0, nll=0.5)]


@pytest.mark.parametrize("kept", [1, 30, 60])
def test_a_line_that_was_cut_short_is_left_out_and_the_next_one_is_not_lost(path, kept):
    append(path, [row(0, nll=0.5)])
    with path.open("a") as file:
        file.write(json.dumps(row(1, nll=0.25))[:kept])
    before = path.read_bytes()
    assert finished(path) == [row(0, nll=0.5)]
    assert path.read_bytes() == before  # reading changes nothing: a study may be writing
    append(path, [row(1, nll=0.75)])
    assert finished(path) == [row(0, nll=0.5), row(1, nll=0.75)]


def test_a_row_that_lacks_only_its_end_of_line_is_kept(path):
    path.write_text(json.dumps(row(0, nll=0.5)))
    append(path, [row(1, nll=0.25)])
    assert finished(path) == [row(0, nll=0.5), row(1, nll=0.25)]


@pytest.mark.parametrize("line", ['{"data": "wine"}', "[1, 2]", "3"])
def test_a_line_that_is_no_row_is_refused_by_file_and_number(path, line):
    append(path, [row(0, nll=0.5)])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"cells\.jsonl, line 2, is not the row of a cell"):
        finished(path)
