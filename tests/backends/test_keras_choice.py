"""Which engine Keras is imported with."""

import os
import subprocess
import sys
from importlib import util

import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

from skdidicm_keras.choice import choose_engine

ENGINES = [name for name in ("torch", "jax", "tensorflow") if util.find_spec(name)]

REPORT = """
import os
import skdidicm_keras.engine
print(skdidicm_keras.engine.NAME, os.environ.get("KERAS_BACKEND"))
"""


def run(script, home, **environment):
    """Return the words that a fresh process prints."""
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=env | {"KERAS_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


def test_keras_that_is_already_imported_is_taken_as_it_is(tmp_path):
    engine = ENGINES[-1]
    script = "import keras, os\ndel os.environ['KERAS_BACKEND']\n" + REPORT
    assert run(script, tmp_path, KERAS_BACKEND=engine) == [engine, "None"]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Pretend that some packages are installed, and that the user asks for an engine."""

    def pretend(installed, variable=None, file=None):
        monkeypatch.setattr(util, "find_spec", lambda name: name in installed or None)
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        if variable is not None:
            monkeypatch.setenv("KERAS_BACKEND", variable)
        if file is not None:
            (tmp_path / "keras.json").write_text(file)

    return pretend


ALL = ("keras", "torch", "jax", "tensorflow")


def test_without_a_wish_the_first_installed_engine_is_taken(machine):
    machine(ALL)
    assert choose_engine() == "torch"
    machine(["keras", "tensorflow", "jax"])
    assert choose_engine() == "jax"


def test_the_variable_comes_before_the_file_and_the_file_before_our_order(machine):
    machine(ALL, file='{"backend": "tensorflow"}')
    assert choose_engine() == "tensorflow"
    machine(ALL, variable="jax")
    assert choose_engine() == "jax"


def test_a_file_that_names_a_missing_engine_is_passed_over(machine):
    machine(["keras", "jax"], file='{"backend": "tensorflow"}')
    assert choose_engine() == "jax"


@pytest.mark.parametrize("content", ["", "[]", '{"backend": 3}', '{"backend": "numpy"}'])
def test_a_file_that_says_nothing_of_use_is_passed_over(machine, content):
    machine(ALL, file=content)
    assert choose_engine() == "torch"


@pytest.mark.parametrize(
    ("installed", "variable", "said"),
    [
        (["keras", "torch"], "jax", "'jax', which is not installed; .*pip install jax"),
        (ALL, "numpy", "KERAS_BACKEND is 'numpy', which cannot train here; set"),
        (["torch"], None, "needs Keras, which is not installed; pip install keras"),
        (["keras"], None, "none is installed; pip install .*torch.*jax.*tensorflow"),
    ],
)
def test_what_is_missing_is_one_sentence_with_its_command(machine, installed, variable, said):
    machine(installed, variable)
    with pytest.raises(ImportError, match=said) as caught:
        choose_engine()
    assert "\n" not in str(caught.value)


def test_an_engine_is_chosen_and_the_environment_left_alone_also_for_workers(tmp_path):
    """The engine is chosen here, by no variable and no file; workers of joblib find the same."""
    (tmp_path / "keras.json").write_text('{"backend": "an engine of another machine"}')
    script = (
        REPORT
        + """
import numpy as np
from joblib import Parallel, delayed
from skdidicm import DiDiClassifier
from skdidicm.registry import get_backend

def work(classifier, X):
    import skdidicm_keras.engine
    return skdidicm_keras.engine.NAME, classifier.predict_proba(X)

get_backend("keras")
rng = np.random.default_rng(0)
X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
classifier = DiDiClassifier(backend="keras", max_epochs=1, random_state=0, device="cpu").fit(X, y)
(name, p), = Parallel(n_jobs=2)([delayed(work)(classifier, X)])
print(name, np.abs(p - classifier.predict_proba(X)).max() < 1e-12)
"""
    )
    assert run(script, tmp_path) == [ENGINES[0], "None", ENGINES[0], "True"]
