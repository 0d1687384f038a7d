"""Models that are saved on one backend and opened on the other: torch and Keras."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

from skdidicm_keras import KerasNetwork  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from skdidicm import DiDiClassifier  # noqa: E402
from skdidicm.cli import app  # noqa: E402

DATA = Path(__file__).parents[1] / "data"


class TestModels:
    """Whole estimators, through files."""

    @staticmethod
    def data(image):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((60, 8, 8) if image else (60, 3)).astype(np.float32)
        y = (X.reshape(60, -1)[:, :3].sum(axis=1) > 0).astype(int) + (X.reshape(60, -1)[:, 0] > 1)
        return X, y

    @pytest.mark.parametrize("image", [False, True], ids=["table", "image"])
    @pytest.mark.parametrize("direction", [("torch", "keras"), ("keras", "torch")])
    def test_so_are_the_answers_of_held_out_rows(self, tmp_path, image, direction):
        X, y = self.data(image)
        settings = {"max_epochs": 2, "choose_epochs": True, "random_state": 0, "device": "cpu"}
        classifier = DiDiClassifier(backend=direction[0], **settings).fit(X, y)
        classifier.save(tmp_path / "model.skd")
        other = DiDiClassifier.load(tmp_path / "model.skd", backend=direction[1], device="cpu")
        expected = classifier.oob_decision_function_
        np.testing.assert_array_equal(other.oob_decision_function_, expected)
        members = classifier.predict_members(X)
        np.testing.assert_allclose(other.predict_members(X), members, atol=1e-3)
        # A rounded distance may pass that of one held-out row.
        familiar = classifier.familiarity(X + 0.3)
        np.testing.assert_allclose(other.familiarity(X + 0.3), familiar, atol=1.5 / 61)
        # Training rows would tie with their own held-out answers, and rounding decide.
        same = (other.predict_set(X + 0.3, 0.7) == classifier.predict_set(X + 0.3, 0.7)).mean()
        assert same > 0.99

    @pytest.mark.parametrize("image", [False, True], ids=["table", "image"])
    @pytest.mark.parametrize("direction", [("torch", "keras"), ("keras", "torch")])
    @pytest.mark.parametrize("sampler", ["cp", "cl"])
    def test_a_saved_model_predicts_the_same_on_the_other(
        self, tmp_path, image, direction, sampler
    ):
        self.check(tmp_path, image, direction, sampler=sampler)

    @pytest.mark.parametrize("image", [False, True], ids=["table", "image"])
    @pytest.mark.parametrize("direction", [("torch", "keras"), ("keras", "torch")])
    def test_so_does_an_ordinary_classifier(self, tmp_path, image, direction):
        self.check(tmp_path, image, direction, conditioning="none")

    @pytest.mark.parametrize("direction", [("torch", "keras"), ("keras", "torch")])
    def test_so_does_an_ensemble(self, tmp_path, direction):
        self.check(tmp_path, True, direction, choose_epochs=True)

    def check(self, tmp_path, image, direction, *, sampler="cp", **settings):
        X, y = self.data(image)
        classifier = DiDiClassifier(
            backend=direction[0],
            sampler=sampler,
            max_epochs=4,
            random_state=0,
            device="cpu",
            **settings,
        ).fit(X, y)
        assert bool(classifier.members_) is ("choose_epochs" in settings)
        classifier.save(tmp_path / "model.skd")
        other = DiDiClassifier.load(tmp_path / "model.skd", backend=direction[1], device="cpu")
        assert type(other.network_) is not type(classifier.network_)
        # One label in many chains may fall to the other side of a number that was drawn.
        tolerance = 1e-4 if sampler == "cp" else 0.1
        np.testing.assert_allclose(
            other.predict_proba(X), classifier.predict_proba(X), atol=tolerance
        )

    @pytest.mark.parametrize("image", [False, True], ids=["table", "image"])
    def test_training_goes_on_after_loading(self, tmp_path, image):
        """Images with mixup and shifts, which draw from the same generator on both."""
        X, y = self.data(image)
        classifier = DiDiClassifier(
            backend="torch", max_epochs=4, random_state=0, device="cpu"
        ).fit(X, y)
        classifier.save(tmp_path / "model.skd")
        losses = []
        for backend in ("torch", "keras"):
            other = DiDiClassifier.load(tmp_path / "model.skd", backend=backend, device="cpu")
            losses.append(other.partial_fit(X, y).history_[-1]["loss"])
        assert losses[1] == pytest.approx(losses[0], rel=1e-4 if image else 1e-6)


@pytest.mark.slow
@pytest.mark.imagenet
def test_an_imported_official_checkpoint_opens_in_keras(tmp_path):
    """Names, shapes and wrapping of the paper's code, in numbers that keep activations small."""
    pytest.importorskip("timm")
    shapes = json.loads((DATA / "didirn_state_shapes.json").read_text())["didirn18"]
    rng = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        value = torch.rand(shape, generator=rng)
        if len(shape) > 1:
            value = (value - 0.5) * (12 / math.prod(shape[1:])) ** 0.5
        state[f"module.{name}"] = value + 0.5 if name.endswith("var") else value
        if not shape:
            state[f"module.{name}"] = torch.tensor(3)
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "last.pth.tar")
    words = ("import-official", tmp_path / "last.pth.tar", "--resolution", 32)
    result = CliRunner().invoke(app, [str(w) for w in (*words, "--output", tmp_path / "run")])
    assert result.exit_code == 0, result.stderr
    theirs, ours = (
        DiDiClassifier.load(tmp_path / "run" / "model.skd", backend=backend, device="cpu")
        for backend in ("torch", "keras")
    )
    assert isinstance(ours.network_, KerasNetwork)
    for name, value in ours.network_.state().items():
        np.testing.assert_array_equal(value, state[f"module.{name}"].numpy(), err_msg=name)
    X = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    p, expected = (model.predict_proba(X) for model in (ours, theirs))
    assert expected.std() > 1e-5
    np.testing.assert_allclose(p, expected, atol=1e-4 * expected.max())
