import json
import shutil

import pytest


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())["metrics"]


@pytest.mark.parametrize("inside", ["", "model.skd"])
def test_a_run_is_evaluated_as_when_it_was_made(cli, digits_run, read_json, inside):
    result = cli("evaluate", digits_run.folder / inside, "--json")
    assert result.code == 0
    again, before = read_json(result.out)["metrics"], metrics_of(digits_run.folder)
    for name in ("accuracy", "top5_accuracy", "nll", "ece"):
        assert again[name] == pytest.approx(before[name], rel=1e-5)


def test_noise_and_subset_are_those_of_the_run(cli, fashion_run, read_json):
    content = read_json(cli("evaluate", fashion_run.folder, "--json").out)
    assert content["dataset"]["noise"] == 0.5
    assert content["metrics"]["nll"] == pytest.approx(metrics_of(fashion_run.folder)["nll"], 1e-5)


def test_another_sampler_gives_other_figures(cli, digits_run, read_json):
    result = cli("evaluate", digits_run.folder, "--json", "--steps", "5", "--solver", "bridge")
    content = read_json(result.out)
    assert content["settings"] == {"steps": 5, "solver": "bridge"}
    assert content["metrics"]["nll"] != metrics_of(digits_run.folder)["nll"]


def test_the_table_goes_to_stdout(cli, digits_run):
    result = cli("evaluate", digits_run.folder)
    assert "digits, 360 test images" in result.out
    assert "Accuracy" in result.out
    assert "Training" not in result.out
    assert result.err == ""


def test_data_that_moved_can_be_pointed_at(cli, fashion_run, fashion_data, tmp_path, read_json):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(fashion_run.folder, run)
    details = json.loads((run / "metrics.json").read_text())
    details["dataset"]["folder"] = str(tmp_path / "gone")
    (run / "metrics.json").write_text(json.dumps(details))
    lost = cli("evaluate", run)
    assert (lost.code, lost.out) == (1, "")
    assert "gone is not a folder" in lost.err
    shutil.copytree(fashion_data, data)
    found = read_json(cli("evaluate", run, "--data", data, "--json").out)
    assert found["metrics"]["nll"] == pytest.approx(metrics_of(fashion_run.folder)["nll"], 1e-5)


def test_a_folder_for_data_that_needs_none_is_refused(cli, digits_run, tmp_path):
    result = cli("evaluate", digits_run.folder, "--data", tmp_path)
    assert result.code == 1
    assert "the data set digits needs no folder" in result.err


def test_a_model_alone_does_not_know_its_data(cli, digits_run, tmp_path):
    shutil.copy(digits_run.folder / "model.skd", tmp_path)
    result = cli("evaluate", tmp_path)
    assert result.code == 1
    assert "metrics.json with the data of the run is missing" in result.err


def test_damaged_figures_are_named(cli, digits_run, tmp_path):
    shutil.copy(digits_run.folder / "model.skd", tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    result = cli("evaluate", tmp_path)
    assert result.code == 1
    assert "metrics.json is damaged" in result.err


@pytest.mark.parametrize("command", ["evaluate", "info", "predict"])
def test_what_is_no_model_is_one_sentence(cli, tmp_path, command):
    rows = ["rows.npy"] if command == "predict" else []
    nowhere = cli(command, tmp_path / "nowhere", *rows)
    assert nowhere.code == 1
    assert "nowhere does not exist; expected a run folder or a model file" in nowhere.err
    empty = cli(command, tmp_path, *rows)
    assert empty.code == 1
    assert "holds no model.skd" in empty.err
    foreign = tmp_path / "model.skd"
    foreign.write_text("not a model")
    (tmp_path / "metrics.json").write_text('{"dataset": {"name": "digits", "seed": 0}}')
    result = cli(command, foreign, *rows)
    assert result.code == 1
    assert str(foreign) in result.err
    assert "Traceback" not in result.err
