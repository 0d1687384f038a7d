"""One ONNX graph from raw rows to probabilities answers as the classifier does."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine

from skdidicm import DiDiClassifier
from skdidicm.predict.graph import MAX_STEPS
from skdidicm.saving.onnx_file import write_onnx

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx", reason="onnx is missing")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is missing")
pytest.importorskip("onnxscript", reason="onnxscript is missing")

X, y = load_wine(return_X_y=True)
IMAGES, DIGITS = (a[:120] for a in load_digits(return_X_y=True))
IMAGES = IMAGES.reshape(-1, 8, 8)


def answers(path, rows):
    session = onnxruntime.InferenceSession(path)
    kind = np.float64 if session.get_inputs()[0].type == "tensor(double)" else np.float32
    return session.run(["probabilities"], {"x": np.asarray(rows, kind)})[0]


def agree(model, path, rows, atol=2e-5):
    model.export_onnx(path)
    for part in (rows[:1], rows[:2], rows):  # any number of rows
        np.testing.assert_allclose(answers(path, part), model.predict_proba(part), atol=atol)


def test_one_graph_answers_for_a_table(quick, tmp_path):
    model = quick(steps=2, max_epochs=20).fit(X, np.array(["low", "mid", "high"])[y])
    agree(model, tmp_path / "model.onnx", X)
    (names,) = onnx.load(tmp_path / "model.onnx").metadata_props
    assert json.loads(names.value) == model.classes_.tolist()


def test_a_posterior_on_a_rate_matrix_is_in_the_graph(quick, tmp_path):
    rates = np.array([[-1.0, 0.5, 0.1], [0.8, -0.7, 0.2], [0.2, 0.2, -0.3]])
    settings = {"rate_matrix": rates, "parameterization": "posterior", "steps": 2}
    model = quick(max_epochs=10, **settings).fit(X, y)
    agree(model, tmp_path / "model.onnx", X, atol=1e-3)  # steps of a rate matrix round more


def test_gaps_of_a_table_are_filled_and_marked_in_the_graph(quick, tmp_path):
    table = X.copy()
    table[::5, 2] = table[::7, 4] = np.nan
    model = quick(steps=1, max_epochs=10).fit(table, y)
    agree(model, tmp_path / "model.onnx", table)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"additive": False, "trees": False}, {"label_rule": "draw"}]
)
def test_ensemble_additive_model_trees_and_temperature_are_in_the_graph(settings, tmp_path):
    model = DiDiClassifier(
        max_epochs=12, choose_epochs=True, device="cpu", random_state=0, **settings
    ).fit(X[::2], y[::2])
    assert len(model._networks) == 6
    assert (model.additive_share_ + model.trees_share_ > 0) == ("additive" not in settings)
    agree(model, tmp_path / "model.onnx", X)


@pytest.mark.slow
@pytest.mark.parametrize("conditioning", ["auto", "blocks", "none"])
def test_one_graph_answers_for_images(conditioning, tmp_path):
    settings = {"conditioning": conditioning, "max_epochs": 2, "device": "cpu", "random_state": 0}
    if conditioning == "auto":  # with an ensemble
        settings |= {"choose_epochs": True}
    else:
        settings |= {"steps": 2}
    model = DiDiClassifier(**settings).fit(IMAGES, DIGITS)
    agree(model, tmp_path / "model.onnx", IMAGES[:20])


@pytest.mark.slow
def test_the_mean_of_logits_and_the_slope_of_the_temperature_are_in_the_graph(tmp_path):
    settings = {"steps": 2, "max_epochs": 2, "choose_epochs": True, "device": "cpu"}
    classes = np.arange(120) // 2  # 60 of them
    model = DiDiClassifier(random_state=0, **settings).fit(IMAGES, classes)
    assert model.temperature_slope_ != 0
    assert len(model._networks) > 1
    agree(model, tmp_path / "model.onnx", IMAGES[:20])


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0, 0.1])
def test_a_pretrained_network_is_in_the_graph(rate, tmp_path):
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.safetensors")
    pictures = np.random.default_rng(0).integers(0, 256, (20, 24, 20, 3)).astype(np.uint8)
    model = DiDiClassifier(
        steps=2, network="timm/test_efficientnet", pretrained=tmp_path / "w.safetensors",
        trunk_learning_rate=rate, max_epochs=2, device="cpu", random_state=0,
    ).fit(pictures, np.arange(20) % 2)  # fmt: skip
    agree(model, tmp_path / "model.onnx", pictures)


REFUSED = {
    "chains": ({"sampler": "cl"}, {}, r"sampler is 'cl', .* set sampler='cp'"),
    "steps": ({"steps": MAX_STEPS + 1}, {}, "steps is 65, but ONNX takes at most 64"),
    "calibrator": ({}, {"calibrator": np.sqrt}, "the calibrator .* cannot be in an ONNX graph"),
    "label noise": (
        {},
        {"label_noise": 0.1, "parameterization": "score"},
        "corrects for label_noise after sampling",
    ),
}


@pytest.mark.parametrize(("later", "first", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_graph_can_do_is_told_in_one_sentence(quick, later, first, message, tmp_path):
    model = quick(max_epochs=1, **first).fit(X, y).set_params(**later)
    with pytest.raises(ValueError, match=message) as caught:
        model.export_onnx(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_categories_are_told_in_one_sentence(quick, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X).assign(kind=pandas.Categorical(np.array(["a", "b"])[y % 2]))
    frame.columns = frame.columns.astype(str)
    with pytest.raises(ValueError, match=r"the columns \[13\] are categories"):
        quick(max_epochs=1).fit(frame, y).export_onnx(tmp_path / "model.onnx")


def test_a_missing_folder_is_told_before_the_export(quick, tmp_path, monkeypatch):
    model = quick(steps=2, max_epochs=1).fit(X, y)
    monkeypatch.setattr(type(model), "predict_proba", None)  # what the export begins with
    with pytest.raises(FileNotFoundError, match="missing is not a folder; create it"):
        model.export_onnx(tmp_path / "missing" / "model.onnx")


def test_a_graph_with_other_answers_is_not_written(tmp_path):
    helper = onnx.helper
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["probabilities"])],
        "same",
        [value("x", onnx.TensorProto.FLOAT, ["n", 2])],
        [value("probabilities", onnx.TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    rows, path = np.eye(2, dtype=np.float32)[[0, 1, 1]], tmp_path / "model.onnx"
    export = lambda file: onnx.save(model, file)  # noqa: E731
    with pytest.raises(RuntimeError, match="off by up to 0.5"):
        write_onnx(path, export, np.arange(2), rows, 0.5 * rows)
    assert not path.exists()
    write_onnx(path, export, np.arange(2), rows, rows)
    np.testing.assert_array_equal(answers(path, rows), rows)
