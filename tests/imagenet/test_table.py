import csv
import io
import re

import pytest

from skdidicm.imagenet import grid, table
from skdidicm.imagenet.grid import Cell, Setting

WORDNET = [f"n{i:08d}" for i in range(1000)]


def figures(accuracy, top5, nll=1.0, ece=0.1):
    return {"accuracy": accuracy, "top5_accuracy": top5, "nll": nll, "ece": ece}


@pytest.fixture
def cells():
    return grid.plan((56,), (0.25, 1.0))


@pytest.fixture
def facts():
    return table.TableFacts("photos", 14, 560, 210, "didirn-tiny", "8", "cp, 8 steps", False)


@pytest.fixture
def imagenet():
    return table.TableFacts("in1k", 1000, 1_281_167, 50_000, "didirn50", "600", "cp, 8 steps", True)


@pytest.fixture
def found(cells):
    """Both runs of one setting, and one of another."""
    return table.rows(
        cells,
        {
            Cell(56, 0.25, "weak", "cross-entropy"): figures(0.40, 0.60, 2.5, 0.2),
            Cell(56, 0.25, "weak", "score-entropy"): figures(0.45, 0.58, 2.0, 0.05),
            Cell(56, 1.0, "strong", "score-entropy"): figures(0.7, 0.9, 1.25, 0.0312),
        },
    )


def table_of(text):
    """The cells of a Markdown table, read back."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert set(rule) == {"---"}
    assert all(len(row) == len(header) for row in rows)
    return header, rows


def test_there_is_a_row_for_every_setting_of_the_plan(found, cells):
    assert [row.setting for row in found] == list(dict.fromkeys(cell.setting for cell in cells))


def test_the_gain_is_diffusion_minus_baseline_in_points(found, facts):
    header, rows = table_of(table.markdown(found, facts))
    (row,) = [row for row in rows if row[:3] == ["56", "25%", "weak"]]
    assert header[3:6] == ["cross-entropy top-1 / top-5", "DiDiCM top-1 / top-5", "gain"]
    assert row[3:8] == ["40.00 / 60.00", "45.00 / 58.00", "+5.00 / -2.00", "2.500 / 2.000",
                        "20.00% / 5.00%"]  # fmt: skip


def test_a_cell_that_has_not_run_leaves_a_gap_and_no_gain(found, facts):
    _, rows = table_of(table.markdown(found, facts))
    (row,) = [row for row in rows if row[:3] == ["56", "100%", "strong"]]
    assert row[3:8] == ["-", "70.00 / 90.00", "-", "- / 1.250", "- / 3.12%"]
    (empty,) = [row for row in rows if row[:3] == ["56", "100%", "weak"]]
    assert set(empty[3:]) == {"-"}


def test_the_papers_figures_stand_in_the_rows_of_their_setting_only(facts):
    """Against the note's own three rows, its printed gains too."""
    noted = {
        ("224", "100%", "strong"): ["80.42 / 94.60", "80.40 / 95.29", "-0.02 / +0.69"],
        ("56", "25%", "strong"): ["53.77 / 76.03", "59.05 / 81.93", "+5.28 / +5.90"],
        ("56", "25%", "weak"): ["44.86 / 66.46", "57.92 / 80.26", "+13.06 / +13.80"],
    }
    header, rows = table_of(table.markdown(table.rows(grid.plan(), {}), facts))
    assert header[8].startswith("paper (as reported)")
    for row in rows:
        assert row[8:] == noted.get(tuple(row[:3]), ["-", "-", "-"])


def test_what_is_not_imagenet_says_so(found, facts, imagenet):
    assert "**Not ImageNet-1k**" in table.markdown(found, facts)
    assert "photos, 14 classes, 560 training and 210 validation" in table.markdown(found, facts)
    assert "Epochs: 8." in table.markdown(found, facts)
    assert not re.search("not imagenet", table.markdown(found, imagenet), re.IGNORECASE)


@pytest.mark.parametrize(
    ("classes", "n_train", "n_val", "expected"),
    [
        (WORDNET, 1_281_167, 50_000, True),
        (WORDNET, 1_281_166, 50_000, False),
        (WORDNET, None, 50_000, False),
        (WORDNET, 1_281_167, 5_000, False),
        (WORDNET[:100], 1_281_167, 50_000, False),
        ([f"class {i}" for i in range(1000)], 1_281_167, 50_000, False),
    ],
)
def test_imagenet_is_told_by_classes_and_counts(classes, n_train, n_val, expected):
    assert table.is_imagenet(classes, n_train, n_val) is expected


def test_csv_holds_the_figures_unrounded_and_what_they_are_of(found, facts):
    lines = list(csv.DictReader(io.StringIO(table.as_csv(found, facts))))
    assert len(lines) == len(found)
    by_setting = {
        Setting(int(line["resolution"]), float(line["data_ratio"]), line["recipe"]): line
        for line in lines
    }
    line = by_setting[Setting(56, 0.25, "weak")]
    assert float(line["didicm_top1"]) == 0.45
    assert float(line["baseline_nll"]) == 2.5
    assert float(line["reported_didicm_top5"]) == pytest.approx(0.8026)
    assert (line["data"], line["is_imagenet"], line["n_train"]) == ("photos", "False", "560")
    assert by_setting[Setting(56, 1.0, "weak")]["baseline_top1"] == ""
