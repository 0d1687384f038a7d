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
    both = cli("study", *options, "--baseline", "cross-entropy", "--output", tmp_path)
    assert both.code == 0
    assert "| data | n | noise | resolution | didicm | cross-entropy |" in both.out
    lines = (tmp_path / "cells.jsonl").read_text().splitlines()
    assert [json.loads(line)["method"] for line in lines] == ["didicm", "cross-entropy"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "cells.jsonl",
        "settings.json",
        "results.csv",
        "results.md",
        "comparison.csv",
        "comparison.md",
        "accuracy_against_calls.png",  # 8 and 1; all have the same noise
        "nll_against_calls.png",
    }
    assert "| cross-entropy | 1 | 1 | +0.0 |" in (tmp_path / "comparison.md").read_text()


def test_tables_are_made_again_from_what_is_finished(cli, tmp_path):
    path = tmp_path / "cells.jsonl"
    options = ("--data", "wine", "--seeds", 1, "--epochs", 1, "--method", "didicm")
    assert cli("study", *options, "--device", "cpu", "--output", tmp_path).code == 0
    before, csv = path.read_text(), (tmp_path / "results.csv").read_text()
    (tmp_path / "results.csv").unlink()
    assert cli("study", "--tables-only", "--output", tmp_path).code == 0
    assert (tmp_path / "results.csv").read_text() == csv
    assert path.read_text() == before


def test_tables_of_nothing_are_one_sentence(cli, tmp_path):
    result = cli("study", "--tables-only", "--output", tmp_path)
    assert result.code == 1
    assert "cells.jsonl has no finished cells; expected" in " ".join(result.err.split())


def test_an_unknown_method_is_one_sentence(cli, tmp_path):
    result = cli("study", "--data", "wine", "--method", "guess", "--output", tmp_path)
    assert result.code == 1
    assert "method is 'guess'; expected one of" in result.err


def test_a_study_chooses_budgets_from_the_candidates_given(cli, tmp_path):
    options = ("--data", "wine", "--seeds", 1, "--epochs", 4, "--device", "cpu")
    options = (*options, "--method", "cross-entropy", "--budget", "best", "--candidate", 0.5)
    result = cli("study", *options, "--output", tmp_path)
    assert result.code == 0
    row = json.loads((tmp_path / "cells.jsonl").read_text())
    assert (row["budget"], row["chosen_budget"]) == ("best", 0.5)
    assert "cross-entropy@best" in result.out
    assert "chosen_budget" in (tmp_path / "results.md").read_text()


def test_a_study_goes_on_with_the_settings_it_was_begun_with_only(cli, tmp_path):
    options = ("--data", "wine", "--seeds", 1, "--method", "cross-entropy", "--output", tmp_path)
    refused = cli("study", *options, "--epochs", 9, "--device", "nowhere")
    assert refused.code == 1  # and without a row the settings do not bind
    assert cli("study", *options, "--epochs", 1, "--device", "cpu").code == 0
    before = (tmp_path / "cells.jsonl").read_text()
    assert cli("study", *options, "--epochs", 1, "--device", "cpu").code == 0
    for changed, message in (
        (("--epochs", 2, "--device", "cpu"), "max_epochs 1, not max_epochs 2; use"),
        (("--device", "cpu"), 'max_epochs 1, not max_epochs "auto"; use'),
        (("--epochs", 1), 'device "cpu", not device "auto"; use'),
        (("--epochs", 1, "--device", "cpu", "--candidate", 0.5), "candidates [0.5]; use"),
    ):
        result = cli("study", *options, *changed)
        assert result.code == 1
        assert message in result.err
    assert (tmp_path / "cells.jsonl").read_text() == before


def test_an_unknown_budget_is_one_sentence(cli, tmp_path):
    result = cli("study", "--data", "wine", "--budget", "bset", "--output", tmp_path)
    assert result.code == 1
    assert "budget is 'bset'; expected" in result.err
