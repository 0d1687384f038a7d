import json
import os
import shutil

import pytest

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.saving import model_file

pytest.importorskip("jinja2")
pytest.importorskip("PIL")


@pytest.fixture
def run(digits_run, tmp_path):
    folder = tmp_path / "a run"
    shutil.copytree(digits_run.folder, folder)
    return folder


def test_a_run_is_reported_with_the_figures_of_its_own_test(cli, run, read_json):
    result = cli("report", run, "--n-images", "3", "--json")
    assert result.code == 0, result.err
    content = read_json(result.out)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert content["metrics"] == metrics
    assert content["computed"]["n"] == 360
    for name in ("accuracy", "top5_accuracy", "nll", "ece"):
        assert content["computed"][name] == pytest.approx(metrics[name], rel=1e-5)
    html = (run / "report.html").read_text()
    assert content["output"] == str(run / "report.html")
    assert html.count('class="card"') == 3
    assert f"<td>{metrics['nll']:.3f} nats</td>" in html
    split = load_digits_split(3)
    p = DiDiClassifier.load(run / "model.skd").predict_proba(split.X_test).max(axis=1)
    assert f'alt="Test row {p.argmin()}"' in html


def test_the_file_can_be_named(cli, run, tmp_path):
    result = cli("report", run / "model.skd", "--output", tmp_path / "x.html", "--n-images", "0")
    assert result.out == f"{tmp_path / 'x.html'}\n"
    assert (tmp_path / "x.html").read_text().startswith("<!doctype html>")
    assert not (run / "report.html").exists()


def test_without_its_data_a_run_tells_what_its_folder_holds(
    cli, fashion_run, fashion_data, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(fashion_run.folder, run)
    details = json.loads((run / "metrics.json").read_text())
    details["dataset"]["folder"] = str(tmp_path / "gone")
    (run / "metrics.json").write_text(json.dumps(details))
    result = cli("report", run)
    assert result.code == 0
    assert "gone is not a folder" in result.err
    html = (run / "report.html").read_text()
    assert "nothing was predicted again" in html
    assert f"{details['metrics']['nll']:.3f} nats" in html
    assert "Training loss" in html
    assert "Reliability" not in html
    found = cli("report", run, "--data", fashion_data)
    assert found.code == 0, found.err
    assert "all 20 test rows" in (run / "report.html").read_text()


def test_a_model_of_a_table_is_reported_by_its_history(cli, torch, tmp_path):
    X = [[0.0], [1.0], [0.1], [0.9]]
    classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, ["<b>", "c", "<b>", "c"])
    classifier.save(tmp_path / "model.skd")
    assert cli("report", tmp_path).code == 0
    html = (tmp_path / "report.html").read_text()
    assert "2: &lt;b&gt;, c" in html
    assert "<b>" not in html
    assert "Training loss" in html


@pytest.mark.imagenet
def test_a_run_on_pictures_is_reported_as_it_was_evaluated(cli, photographs, tmp_path, read_json):
    pytest.importorskip("timm")
    run = tmp_path / "run"
    tiny = ("--model", "didirn-tiny", "--resolution", 32, "--batch-size", 16, "--global-batch", 32)
    short = ("--epochs", 1, "--steps", 2, "--workers", 0, "--device", "cpu", "--output", run)
    trained = cli("train", "imagenet", "--data", photographs, *tiny, *short)
    assert trained.code == 0, trained.err
    result = cli("report", run, "--n-images", 2, "--json")
    assert result.code == 0, result.err
    content = read_json(result.out)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert content["computed"]["n"] == metrics["n_images"] == 31
    assert content["computed"]["accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert content["computed"]["nll"] == pytest.approx(metrics["nll"], rel=1e-3)
    html = (run / "report.html").read_text()
    assert html.count('src="data:image/png') == 2
    assert "all 31 test rows" in html
    for folder in (photographs / "val").iterdir():
        assert f'<th scope="row">{folder.name}</th>' in html


def test_an_unfinished_run_shows_its_history(cli, run):
    (run / "model.skd").unlink()
    assert cli("report", run).code == 0
    html = (run / "report.html").read_text()
    assert "no model yet" in html
    assert html.count("<svg") == 1


@pytest.mark.parametrize("content", ["empty", "damaged"])
def test_what_is_no_run_is_one_sentence(cli, tmp_path, content):
    if content == "damaged":
        (tmp_path / "history.jsonl").write_text("{")
    result = cli("report", tmp_path)
    assert result.code == 1
    assert {"empty": "holds no model.skd", "damaged": "is damaged"}[content] in result.err
    assert result.out == ""


def test_class_names_that_are_not_utf_8_are_reported(cli, torch, tmp_path):
    names = [os.fsdecode(b"caf\xe9"), "th\u00e9"]
    classifier = DiDiClassifier(max_epochs=1, random_state=0).fit([[0.0], [1.0]] * 4, names * 4)
    classifier.save(tmp_path / "model.skd")
    result = cli("report", tmp_path)
    assert result.code == 0, result.err
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert r"caf\xe9" in html
    assert "th\u00e9" in html


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", '{"metrics": [1]}', "metrics is [1]; expected an object"),
        ("metrics.json", '{"metrics": {"nll": "low"}}', "nll is 'low'; expected a number"),
        ("metrics.json", '{"class_names": [["a"]]}', "a class name is ['a']; expected a text"),
        ("metrics.json", '{"dataset": {"name": 3}}', "name of the dataset is 3"),
        ("metrics.json", '{"crop": 0}', "crop is 0; expected a number above 0"),
    ],
)
@pytest.mark.parametrize("command", ["report", "evaluate", "info"])
def test_an_odd_record_is_one_sentence(cli, run, command, file, content, message):
    (run / file).write_text(content)
    result = cli(command, run)
    assert (result.code, result.out) == (1, "")
    assert f"{run / file} is damaged ({message}" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "change", "message"),
    [
        ("report", {"history": "none"}, "its history is not a list of rows of numbers"),
        ("info", {"history": [{"epoch": 1, "loss": "small"}]}, "its history is not a list of rows"),
        ("report", {"history": [{"loss": 0.5}]}, "row 1 of the history has no epoch"),
        ("info", {"versions": ["0.1"]}, "its versions are not strings"),
    ],
)
def test_an_odd_model_is_one_sentence(cli, run, command, change, message):
    header, tensors = model_file.read(run / "model.skd")
    model_file.write(run / "model.skd", header | change, tensors)
    result = cli(command, run)
    assert (result.code, result.out) == (1, "")
    assert str(run / "model.skd") in result.err
    assert message in result.err
    assert result.err.count("\n") == 1
