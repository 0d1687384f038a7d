"""What comes out of a run on pictures: evaluations, predictions, exports, imports."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytestmark = pytest.mark.imagenet

CONFIG = ("--model", "didirn-tiny", "--resolution", 32, "--batch-size", 16, "--global-batch", 32)
SHAPES = Path(__file__).parents[1] / "data" / "didirn_state_shapes.json"


@pytest.fixture(scope="module")
def run(cli, photographs, tmp_path_factory):
    """A run folder after two epochs, and what the command said."""
    folder = tmp_path_factory.mktemp("runs") / "photographs"
    options = (*CONFIG, "--epochs", 2, "--workers", 0, "--steps", 3, "--device", "cpu", "--json")
    result = cli("train", "imagenet", "--data", photographs, "--output", folder, *options)
    assert result.code == 0, result.err
    return folder


@pytest.fixture(scope="module")
def pictures(photographs):
    return sorted((photographs / "val").rglob("*.jpg"))


def predictions(cli, run, files, read_json, *options):
    result = cli("predict", run, *files, "--top", 6, "--json", *options)
    assert result.code == 0, result.err
    rows = read_json(result.out)["predictions"]
    classes = sorted({found["class"] for found in rows[0]["classes"]})
    by_name = [{c["class"]: c["probability"] for c in row["classes"]} for row in rows]
    return np.array([[row[name] for name in classes] for row in by_name]), classes


def test_predictions_of_pictures_score_as_the_run_evaluated(cli, run, pictures, read_json):
    p, classes = predictions(cli, run, pictures, read_json)
    labels = [path.parent.name for path in pictures]
    expected = score_probabilities(labels, p, classes)
    figures = json.loads((run / "metrics.json").read_text())["metrics"]
    for name in ("accuracy", "top5_accuracy", "nll", "ece"):
        assert figures[name] == pytest.approx(expected[name], abs=1e-4), name


def test_a_run_is_evaluated_again_with_another_sampler(cli, run, read_json, tmp_path):
    result = cli(
        *("evaluate", "imagenet", run, "--steps", 2, "--workers", 0, "--json"),
        *("--picture", tmp_path / "steps.png"),
    )
    found = read_json(result.out)
    assert found["metrics"]["n_images"] == 31
    assert len(found["metrics"]["accuracy_by_step"]) == 3
    assert (tmp_path / "steps.png").read_bytes()[:4] == b"\x89PNG"
    again = cli("evaluate", "imagenet", run, "--workers", 0, "--steps", 3, "--json")
    trained = json.loads((run / "metrics.json").read_text())["metrics"]
    assert read_json(again.out)["metrics"]["nll"] == pytest.approx(trained["nll"], abs=1e-6)


def test_a_corruption_changes_the_figures_the_same_way_each_time(cli, run, read_json):
    pytest.importorskip("imagecorruptions")
    words = ("evaluate", "imagenet", run, "--workers", 0, "--json", "--corrupt")
    once, twice, worse = (
        read_json(cli(*words, name).out)["metrics"]["nll"]
        for name in ("gaussian_noise:1", "gaussian_noise:1", "contrast:5")
    )
    plain = json.loads((run / "metrics.json").read_text())["metrics"]["nll"]
    assert once == twice
    assert len({once, worse, plain}) == 3


@pytest.mark.parametrize("name", ["fog:6", "fig:3", "fog"])
def test_an_unknown_corruption_ends_with_a_sentence(cli, run, name):
    pytest.importorskip("imagecorruptions")
    result = cli("evaluate", "imagenet", run, "--corrupt", name)
    assert result.code == 1
    assert f"--corrupt is {name!r}; expected NAME:SEVERITY" in result.err


def test_a_model_is_evaluated_without_naming_the_command(cli, run):
    result = cli("evaluate", run)
    assert result.code == 1
    assert "imagenet" in result.err


def test_an_export_predicts_as_the_run_does(cli, run, pictures, read_json, tmp_path):
    checkpoint = max((run / "checkpoints").glob("update-*.safetensors"))
    for source, name in ((run, "a"), (checkpoint, "b")):
        result = cli("export", source, "--no-onnx", "--output", tmp_path / name)
        assert result.code == 0, result.err
        found, _ = predictions(cli, tmp_path / name, pictures[:4], read_json)
        np.testing.assert_array_equal(found, predictions(cli, run, pictures[:4], read_json)[0])


@pytest.mark.slow
@pytest.mark.parametrize("parameterization", ["score", "posterior"])
def test_the_onnx_halves_sample_as_torch_does(parameterization, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from skdidicm.core import log_score, sample_probabilities

    X = np.random.default_rng(0).random((20, 8, 8)).astype(np.float32)
    classifier = DiDiClassifier(
        4, parameterization=parameterization, max_epochs=1, random_state=0, device="cpu"
    ).fit(X, np.arange(20) % 3)
    classifier.network_.export_onnx(tmp_path)
    encode, decode = (
        onnxruntime.InferenceSession(tmp_path / f"{half}.onnx") for half in ("encode", "decode")
    )
    features = encode.run(None, {"x": X})
    names = [value.name for value in encode.get_outputs()]

    def score(label, sigma):
        inputs = {"label": label, "sigma": sigma.astype(np.float32)}
        output = decode.run(None, inputs | dict(zip(names, features, strict=True)))[0]
        return log_score(
            output, label, sigma, process=classifier.process_, parameterization=parameterization
        )

    p = sample_probabilities(
        score,
        np.full((20, 3), 1 / 3, np.float32),
        process=classifier.process_,
        schedule=classifier.schedule_,
        steps=4,
        rng=np.random.default_rng(classifier._fitted.seeds.sampling),
    )
    np.testing.assert_allclose(p, classifier.predict_proba(X), atol=2e-3)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A checkpoint file as the paper's code writes it: names and shapes of a DiDiRN-18."""
    shapes = json.loads(SHAPES.read_text())["didirn18"]
    rng = torch.Generator().manual_seed(0)
    state = {
        f"module.{name}": torch.rand(shape, generator=rng) if shape else torch.tensor(3)
        for name, shape in shapes.items()
    }
    path = tmp_path_factory.mktemp("official") / "last.pth.tar"
    content = {"epoch": 3, "state_dict": state, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, path)
    return path, state


def test_an_official_checkpoint_is_imported_tensor_by_tensor(cli, official, pictures, tmp_path):
    path, state = official
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"class {i}" for i in reversed(range(1000))))
    folder = tmp_path / "run"
    words = ("import-official", path, "--output", folder, "--resolution", 64, "--classes", names)
    result = cli(*words)
    assert result.code == 0, result.err
    assert "didirn18 with 1000 classes" in result.err
    classifier = DiDiClassifier.load(folder / "model.skd", device="cpu")
    loaded = classifier.network_.state()
    assert {f"module.{name}" for name in loaded} == set(state)
    for name, value in loaded.items():
        np.testing.assert_array_equal(value, state[f"module.{name}"].numpy())
    shown = cli("predict", folder, pictures[0], "--format", "jsonl")
    assert json.loads(shown.out)["classes"][0]["class"].startswith("class ")


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(cli, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "x": Trap()}, tmp_path / "a.tar")
    result = cli("import-official", tmp_path / "a.tar", "--output", tmp_path / "run")
    assert result.code == 1
    assert "holds something else than tensors and plain values; nothing of it was run" in result.err
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"a": torch.zeros(1)}}, "holds no weights of a DiDiRN"),
        ({"state_dict": {"conv1.weight": torch.zeros(1)}}, "1 tensors that fit none of didirn18"),
        (None, "something else than tensors"),
    ],
)
def test_a_file_that_is_no_didirn_ends_with_a_sentence(cli, tmp_path, content, words):
    path = tmp_path / "a.pth.tar"
    path.write_bytes(b"nothing") if content is None else torch.save(content, path)
    result = cli("import-official", path, "--output", tmp_path / "run")
    assert result.code == 1
    assert words in result.err
