"""Which engine Keras is imported with, each time in a process of its own."""

import json
import os
import subprocess
import sys
from importlib import util

import pytest

pytest.importorskip("keras")

ENGINES = [name for name in ("torch", "jax", "tensorflow") if util.find_spec(name)]

pytestmark = pytest.mark.skipif(not ENGINES, reason="no engine of Keras is installed")

# Hides some packages, as if they were not installed.
HIDE = """
import sys
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *rest: None if name in {hidden!r} else found(name, *rest)
"""
REPORT = """
import os, sys
import skdidicm_keras.engine
print(skdidicm_keras.engine.NAME, os.environ.get("KERAS_BACKEND"))
"""


def run(script, home, hidden=(), **environment):
    """Return what a fresh process prints, and the last line of its errors."""
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    env |= {"KERAS_HOME": str(home)} | environment
    result = subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=set(hidden)) + script],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.split(), (result.stderr.strip().splitlines() or [""])[-1]


def configure(home, engine):
    (home / "keras.json").write_text(json.dumps({"backend": engine}))


def test_the_first_installed_engine_is_taken_and_the_environment_left_alone(tmp_path):
    assert run(REPORT, tmp_path)[0] == [ENGINES[0], "None"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_environment_decides(tmp_path, engine):
    configure(tmp_path, "tensorflow")
    assert run(REPORT, tmp_path, KERAS_BACKEND=engine)[0] == [engine, engine]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_file_decides_if_its_engine_is_installed(tmp_path, engine):
    configure(tmp_path, engine)
    assert run(REPORT, tmp_path)[0] == [engine, "None"]


def test_a_file_that_names_a_missing_engine_is_passed_over(tmp_path):
    configure(tmp_path, "tensorflow")
    assert run(REPORT, tmp_path, hidden=["tensorflow"])[0][:1] == [
        next(name for name in ENGINES if name != "tensorflow")
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"backend": 3}', "no json"])
def test_a_damaged_file_is_passed_over(tmp_path, content):
    from skdidicm_keras.choice import _configured_engine

    (tmp_path / "keras.json").write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path))
        assert _configured_engine() is None


def test_keras_that_is_already_imported_is_taken_as_it_is(tmp_path):
    engine = ENGINES[-1]
    script = f"import os; os.environ['KERAS_BACKEND'] = {engine!r}; import keras\n"
    script += "del os.environ['KERAS_BACKEND']\n" + REPORT
    assert run(script, tmp_path)[0] == [engine, "None"]


@pytest.mark.parametrize(
    ("environment", "hidden", "said"),
    [
        ({"KERAS_BACKEND": "jax"}, ["jax"], "'jax', which is not installed.*pip install jax"),
        ({"KERAS_BACKEND": "numpy"}, [], "'numpy', which cannot train here"),
        ({}, ["keras"], "needs Keras, which is not installed; pip install keras"),
        ({}, ["torch", "jax", "tensorflow"], "none is installed; pip install .*torch.*jax"),
    ],
)
def test_what_is_missing_is_one_sentence_with_its_command(tmp_path, environment, hidden, said):
    _, error = run(REPORT, tmp_path, hidden=hidden, **environment)
    assert error.startswith("ImportError: ")
    import re

    assert re.search(said, error)


def test_workers_of_joblib_use_the_same_engine(tmp_path):
    """The engine was chosen in the parent, by no variable and no file."""
    script = """
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
    assert run(script, tmp_path)[0] == [ENGINES[0], "True"]
