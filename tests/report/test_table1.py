"""What the cells of the paper's grid have in common, and which folders may hold them."""

import csv

import pytest

from skdidicm.imagenet.grid import plan
from skdidicm.imagenet.recipes import resolve
from skdidicm.report.table1 import gather_facts, hold_for_cells, write_table
from skdidicm.saving import run_folder
from skdidicm.saving.run_folder import RunFolderError, RunRecord

CELLS = plan(resolutions=[16], ratios=[1.0], recipes=["weak"])


def record(accuracy=0.5, names=("cat", "dog"), n_images=9, **settings):
    config = resolve({"data": "nowhere", "model": "didirn-tiny", "steps": 2} | settings).config
    figures = {"accuracy": accuracy, "top5_accuracy": 1.0, "nll": 0.5, "ece": 0.1}
    return RunRecord(
        settings=config.plain(), class_names=names, metrics=figures | {"n_images": n_images}
    )


def finish(folder, *records):
    for cell, one in zip(CELLS, records, strict=False):
        (folder / cell.name).mkdir()
        run_folder.write_record(folder / cell.name, one)


def test_a_setting_that_differs_is_listed_and_others_are_named_once():
    facts = gather_facts([record(epochs=3), record(epochs=7), record(epochs=3, stop_epoch=2)])
    assert (facts.epochs, facts.model, facts.sampler) == (
        "3 and 7 and 2",
        "didirn-tiny",
        "cp, 2 steps",
    )
    assert (facts.n_classes, facts.n_val, facts.n_train) == (2, 9, None)
    assert not facts.is_imagenet


def test_the_training_images_are_counted_where_they_are_a_folder(tmp_path):
    for name in ("cat/1", "cat/2", "dog/1"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / f"{name}.png").touch()
    assert gather_facts([record(data=str(tmp_path))]).n_train == 3
    assert gather_facts([record(data=str(tmp_path), reader="tar")]).n_train is None


@pytest.mark.parametrize("other", [{"names": ("cat", "elk")}, {"n_images": 8}])
def test_figures_of_different_data_belong_in_no_table(other):
    with pytest.raises(ValueError, match="evaluated on different data"):
        gather_facts([record(), record(**other)])


def test_nothing_is_written_before_a_cell_is_finished(tmp_path):
    assert write_table(CELLS, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_the_figures_of_the_cells(tmp_path):
    finish(tmp_path, record(0.5), record(0.75))
    (row,), _, _ = write_table(CELLS, tmp_path)
    assert (row.baseline["accuracy"], row.didicm["accuracy"]) == (0.5, 0.75)
    assert "50.00 / 100.00" in (tmp_path / "table1.md").read_text()
    with (tmp_path / "table1.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert float(line["resolution"]) == 16
    assert {0.5, 0.75} <= {float(value) for value in line.values() if value.startswith("0.")}


def test_a_cell_that_is_not_finished_leaves_its_place_empty(tmp_path):
    finish(tmp_path, record(0.5))
    (row,), _, _ = write_table(CELLS, tmp_path)
    assert row.baseline["accuracy"] == 0.5
    assert row.didicm is None


def test_only_one_process_runs_the_cells_of_a_folder(tmp_path):
    with hold_for_cells(tmp_path), pytest.raises(RunFolderError), hold_for_cells(tmp_path):
        pytest.fail("two processes hold it")
    with hold_for_cells(tmp_path):  # it was given back
        pass


def test_a_run_folder_is_no_folder_of_cells(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    refused = pytest.raises(RunFolderError, match="holds checkpoints of another command")
    with refused, hold_for_cells(tmp_path):
        pytest.fail("it was held")
