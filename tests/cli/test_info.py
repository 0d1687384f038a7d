import zipfile
from importlib.metadata import version

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skdidicm import DiDiClassifier
from skdidicm.registry import installed_backends, registered_backends


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:100], load_digits().target[:100]


def test_info_describes_the_model(cli, digits_run, read_json):
    content = read_json(cli("info", digits_run.folder, "--json").out)
    classifier = DiDiClassifier.load(digits_run.folder / "model.skd")
    assert content["classes"] == [str(i) for i in range(10)]
    assert content["input_shape"] == [8, 8]
    assert content["epochs"] == 2
    assert content["temperature"] == 1
    assert content["versions"]["skdidicm"] == version("skdidicm")
    assert content["parameters"]["steps"] == 2
    assert content["parameters"].keys() == classifier.get_params().keys()


def test_the_number_of_weights_is_that_in_the_file(cli, digits_run, read_json):
    content = read_json(cli("info", digits_run.folder, "--json").out)
    safetensors = pytest.importorskip("safetensors.numpy")
    with zipfile.ZipFile(digits_run.folder / "model.skd") as archive:
        tensors = safetensors.load(archive.read("weights.safetensors"))
    network = [tensor for name, tensor in tensors.items() if name.startswith("network.")]
    assert content["n_weights"] == sum(tensor.size for tensor in network) > 0


def test_the_networks_of_an_ensemble_are_counted(cli, torch, digits, read_json, tmp_path):
    model = DiDiClassifier(max_epochs=1, choose_epochs=True, device="cpu").fit(*digits)
    model.save(tmp_path / "model.skd")
    several = read_json(cli("info", tmp_path / "model.skd", "--json").out)
    model.set_params(ensemble=False).save(tmp_path / "one.skd")
    one = read_json(cli("info", tmp_path / "one.skd", "--json").out)
    assert (one["n_networks"], several["n_networks"]) == (1, 6)
    assert several["n_weights"] == 6 * one["n_weights"]
    assert model._facts()["Network"].endswith(" weights")
    assert model.set_params(ensemble=True)._facts()["Network"].endswith(" weights, and 5 more")


def test_an_export_says_what_its_files_hold(cli, torch, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    model = DiDiClassifier(steps=2, max_epochs=1, choose_epochs=True, device="cpu").fit(X, y)
    model.save(tmp_path / "model.skd")
    result = cli("export", tmp_path)
    assert result.code == 0, result.err
    said = " ".join(result.err.split())
    assert "encode.onnx and decode.onnx, the network that learnt from all rows" in said
    assert "model.onnx: from rows to probabilities" in said
    again = DiDiClassifier.load(tmp_path / "export" / "model.skd")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    session = onnxruntime.InferenceSession(tmp_path / "export" / "model.onnx")
    kind = {"tensor(float)": np.float32}.get(session.get_inputs()[0].type, np.float64)
    found = session.run(None, {"x": X.astype(kind)})[0]
    np.testing.assert_allclose(found, model.predict_proba(X), atol=2e-5)
    model.set_params(sampler="cl").save(tmp_path / "model.skd")
    result = cli("export", tmp_path)
    assert result.code == 0
    assert "There is no model.onnx: sampler is 'cl'" in " ".join(result.err.split())
    assert not (tmp_path / "export" / "model.onnx").exists()


def test_info_is_a_table_for_people(cli, fashion_run):
    result = cli("info", fashion_run.folder)
    assert result.code == 0
    assert "T-shirt/top, Trouser" in result.out
    assert "28 x 28" in result.out
    assert "max_epochs" in result.out


def test_backends_are_those_of_the_registry(cli, read_json):
    rows = read_json(cli("backends", "--json").out)["backends"]
    assert [row["name"] for row in rows] == list(registered_backends())
    assert [row["name"] for row in rows if row["installed"]] == installed_backends()
    assert [row["name"] for row in rows if row["default"]] == installed_backends()[:1]
    table = cli("backends")
    assert table.code == 0
    assert all(row["name"] in table.out for row in rows)


def test_a_missing_framework_comes_with_its_pip_command(cli, monkeypatch, read_json):
    monkeypatch.setattr("skdidicm.registry.installed_backends", list)
    rows = read_json(cli("backends", "--json").out)["backends"]
    torch = next(row for row in rows if row["name"] == "torch")
    assert torch["install"] == 'pip install "skdidicm[torch]"'
    assert not torch["default"]
    assert 'pip install "skdidicm[torch]"' in cli("backends").out


def test_info_shows_what_auto_came_to(cli, torch, digits, read_json, tmp_path):
    model = DiDiClassifier(max_epochs=1, device="cpu").fit(*digits)
    model.save(tmp_path / "model.skd")
    assert read_json(cli("info", tmp_path, "--json").out)["resolved"] == model.resolved_params_
    table = cli("info", tmp_path).out
    assert "didirn-tiny (auto)" in table
    facts = model._facts()
    assert facts["Network"].startswith("didirn-tiny, ")
    assert f"n_draws {model.resolved_params_['n_draws']}, " in facts["Training"]
