"""`skdidicm study` on two cells."""

import json

import pytest

pytest.importorskip("torch")


def test_a_study_writes_cells_tables_and_figures_and_goes_on(cli, tmp_path):
    pytest.importorskip("matplotlib")
    options = ("--data", "wine", "--seeds", 1, "--epochs", 2, "--device", "cpu")
    first = cli("study", *options, "--method", "didicm", "--output", tmp_path)
    assert first.code == 0
    options = (*options, "--method", "didicm", "--method", "cross-entropy")
    both = cli("study", *options, "--output", tmp_path)
    assert both.code == 0
    assert "| data | n | noise | resolution | didicm | cross-entropy |" in both.out
    lines = (tmp_path / "cells.jsonl").read_text().splitlines()
    assert [json.loads(line)["method"] for line in lines] == ["didicm", "cross-entropy"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "cells.jsonl",
        "cells.csv",
        "table.md",
        "nll_against_noise.png",
        "accuracy_against_calls.png",
    }


def test_an_unknown_method_is_one_sentence(cli, tmp_path):
    result = cli("study", "--data", "wine", "--method", "guess", "--output", tmp_path)
    assert result.code == 1
    assert "method is 'guess'; expected one of" in result.err
