import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_folder_split

from .conftest import TINY, run

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="session")
def own_pictures(tmp_path_factory):
    """Pictures of several sizes, whose class is their colour."""
    folder, rng = tmp_path_factory.mktemp("own") / "pictures", np.random.default_rng(0)
    for i in range(40):
        pixels = rng.integers(0, 90, (20 + i, 60 - i, 3), dtype=np.uint8)
        pixels[..., i % 2] += 120
        (folder / ("red", "green")[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / ("red", "green")[i % 2] / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def own_run(torch, tmp_path_factory, own_pictures):
    folder = tmp_path_factory.mktemp("runs") / "own"
    options = (*TINY, "--image-size", "16", "--seed", "3", "--output", folder)
    result = run("train", "folder", own_pictures, *options, "--json")
    assert result.code == 0, result.err
    return SimpleNamespace(folder=folder, out=result.out)


def test_it_holds_out_a_part_of_every_class(own_run, own_pictures):
    record = json.loads(own_run.out)
    assert (record["n_train"], record["n_test"]) == (32, 8)
    assert record["class_names"] == ["green", "red"]
    assert record["dataset"]["size"] == 16
    split = load_folder_split(own_pictures, 16, seed=3)
    model = DiDiClassifier.load(own_run.folder / "model.skd")
    right = model.predict(split.X_test) == split.y_test
    assert record["metrics"]["accuracy"] == pytest.approx(right.mean())


def test_the_run_is_like_any_other(own_run, own_pictures, cli, tmp_path, read_json):
    first = json.loads(own_run.out)["metrics"]
    again = read_json(cli("evaluate", own_run.folder, "--json").out)["metrics"]
    assert again["nll"] == pytest.approx(first["nll"])
    moved = own_pictures.rename(own_pictures.with_name("moved"))
    try:
        moved_too = cli("evaluate", own_run.folder, "--data", moved, "--json")
    finally:
        moved.rename(own_pictures)
    assert read_json(moved_too.out)["metrics"]["nll"] == pytest.approx(first["nll"])
    page = tmp_path / "report.html"
    assert cli("report", own_run.folder, "--output", page).code == 0
    assert "green" in page.read_text()
    exported = cli("export", own_run.folder, "--output", tmp_path / "export", "--no-onnx")
    assert exported.code == 0, exported.err


def test_data_that_have_changed_are_told(own_run, own_pictures, cli, tmp_path):
    more = shutil.copytree(own_pictures, tmp_path / "own")
    evaluate = ("evaluate", own_run.folder, "--data", more)
    assert "have changed" not in cli(*evaluate).err
    shutil.copy(next((more / "red").iterdir()), more / "red" / "new.png")
    assert "have changed since the training: 32 rows" in " ".join(cli(*evaluate).err.split())
    shutil.copytree(more / "red", more / "blue")
    result = cli(*evaluate)
    assert result.code == 1
    assert "other classes than those that the model was trained on (blue)" in result.err


def test_predict_sees_the_pictures_as_training_did(own_run, own_pictures, cli, read_json, tmp_path):
    files = sorted((own_pictures / "red").iterdir())[:3]
    found = read_json(cli("predict", own_run.folder, *files, "--json").out)["predictions"]
    proba = DiDiClassifier.load(own_run.folder / "model.skd").predict_proba(files)
    alone = shutil.copy(own_run.folder / "model.skd", tmp_path)  # without the record of the run
    without = read_json(cli("predict", alone, *files, "--json").out)["predictions"]
    for row, other, p in zip(found, without, proba, strict=True):
        assert other["classes"][0]["probability"] == row["classes"][0]["probability"]
        assert row["classes"][0]["class"] == ("green", "red")[p.argmax()]
        assert row["classes"][0]["probability"] == pytest.approx(p.max())


def test_weights_in_a_file_start_a_network_of_timm(own_pictures, torch, cli, tmp_path):
    timm = pytest.importorskip("timm")
    weights = tmp_path / "w.pth"
    torch.save(timm.create_model("test_efficientnet", num_classes=0).state_dict(), weights)
    options = ("--weights", weights, "--output", tmp_path / "run", "--epochs", "1", "--json")
    backbone = ("--backbone", "test_efficientnet")
    result = cli("train", "folder", own_pictures, *backbone, *options, "--label-noise", "0.1")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert record["dataset"]["size"] == 160  # that of the network
    model = DiDiClassifier.load(tmp_path / "run" / "model.skd")
    assert model.resolved_params_["network"] == "timm/test_efficientnet"
    assert (model.pretrained, model.label_noise) == (str(weights), 0.1)
    assert cli("evaluate", tmp_path / "run").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--weights", "w.pth"), "name it with --backbone"),
        (("--backbone", "resnet18", "--network", "mlp"), "one of --backbone and --network"),
    ],
)
def test_what_contradicts_itself_is_refused(own_pictures, cli, options, words):
    result = cli("train", "folder", own_pictures, *options)
    assert result.code == 2
    assert words in " ".join(result.err.replace("│", " ").split())


def test_a_damaged_test_picture_is_named_before_the_training(own_pictures, cli, tmp_path):
    shutil.copytree(own_pictures, tmp_path / "own")
    bad = Path(load_folder_split(tmp_path / "own").X_test[0])
    bad.write_bytes(bad.read_bytes()[:-40])
    result = cli("train", "folder", tmp_path / "own", *TINY, "--output", tmp_path / "run")
    assert result.code == 1
    assert f"{bad} cannot be read as a picture" in result.err
    assert not (tmp_path / "run").exists()


def test_a_run_among_the_classes_is_refused(own_pictures, cli, tmp_path, monkeypatch):
    shutil.copytree(own_pictures, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    result = cli("train", "folder", ".")
    assert result.code == 1
    assert "whose folders are classes; choose a folder elsewhere" in result.err
    assert not (tmp_path / "own" / "runs").exists()


def test_a_folder_without_classes_says_what_is_expected(cli, tmp_path):
    (tmp_path / "own" / "one").mkdir(parents=True)
    result = cli("train", "folder", tmp_path / "own", "--output", tmp_path / "run")
    assert result.code == 1
    assert "expected at least two" in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_application_of_keras_is_a_backbone(cli, own_pictures, tmp_path, monkeypatch, read_json):
    pytest.importorskip("skdidicm_keras", reason="Keras is missing", exc_type=ImportError)
    import keras
    from skdidicm_keras import trunk

    monkeypatch.setitem(trunk._SIDES, "MobileNetV2", 32)
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    model.save_weights(tmp_path / "w.weights.h5")
    options = ("--backend", "keras", "--epochs", "2", "--json", "--output", tmp_path / "run")
    start = ("--backbone", "keras/MobileNetV2", "--weights", tmp_path / "w.weights.h5")
    result = cli("train", "folder", own_pictures, *start, *options)
    assert result.code == 0, result.err
    assert read_json(result.out)["dataset"]["size"] == 32
    assert DiDiClassifier.load(tmp_path / "run" / "model.skd").input_shape_ == (32, 32, 3)
