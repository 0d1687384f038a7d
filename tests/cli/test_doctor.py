import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from skdidicm.registry import installed_backends

doctor = importlib.import_module("skdidicm.cli.doctor")  # the package has the command by this name


def run_without(*modules, arguments=("doctor", "--json")):
    """Run the command line in a process in which some modules cannot be imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({modules}))\n"
        f"sys.argv[1:] = {list(arguments)}\nfrom skdidicm.cli import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


def broken(folder, source):
    """Return the environment of a process in which torch is a module of this source."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(source)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture
def only_torch(monkeypatch):
    monkeypatch.setattr(doctor, "planned", lambda: iter([("torch", None)]))


def test_a_backend_that_works_ends_well(cli, torch, only_torch, read_json):
    result = cli("doctor", "--json")
    content = read_json(result.out)
    assert result.code == 0
    assert content["works"]
    (trial,) = content["backends"]
    assert (trial["backend"], trial["works"], trial["error"]) == ("torch", True, None)
    assert trial["device"].partition(":")[0] in {"cpu", "cuda", "mps"}
    versions = {row["name"]: row["version"] for row in content["packages"]}
    assert versions["numpy"] == version("numpy")
    assert versions["torch"] == version("torch")


def test_without_a_framework_it_says_what_to_install():
    done = run_without("torch", "keras", "jax", "tensorflow", "timm")
    assert done.returncode == 1, done.stderr
    content = json.loads(done.stdout)
    assert not content["works"]
    install = {row["name"]: row["install"] for row in content["packages"]}
    assert install["torch"] == 'pip install "skdidicm[torch]"'
    assert install["timm"] == 'pip install "skdidicm[imagenet]"'
    assert install["numpy"] is None
    assert "No backend is installed, so nothing can be trained" in done.stderr
    assert 'pip install "skdidicm[torch]"' in done.stderr
    table = run_without("torch", "keras", arguments=["doctor"])
    assert table.returncode == 1
    assert "missing" in table.stdout


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ImportError('libcudart is missing')", "ImportError: libcudart is missing"),
        ("import os; os.abort()", "crashed with signal 6"),
        ("import time; time.sleep(600)", "no answer after 3 seconds"),
    ],
    ids=["import", "crash", "hang"],
)
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_broken_framework_breaks_only_its_trial(monkeypatch, tmp_path, source, reason):
    env = broken(tmp_path, source)
    monkeypatch.setattr(os, "environ", env)
    result = doctor.attempt("torch", None, patience=3 if "sleep" in source else 120)
    assert not result["works"]
    assert reason in result["error"]


def test_no_backend_that_works_is_an_error(cli, only_torch, monkeypatch):
    failed = {"works": False, "device": None, "seconds": 1.0, "error": "it is broken"}
    monkeypatch.setattr(doctor, "attempt", lambda backend, engine: failed)
    result = cli("doctor")
    assert result.code == 1
    assert "it is broken" in result.out
    assert "No installed backend works" in result.err


def test_every_installed_backend_is_tried_on_every_engine(monkeypatch):
    monkeypatch.setattr(doctor, "is_installed", lambda module: module in {"torch", "jax"})
    monkeypatch.setattr("skdidicm.registry.installed_backends", lambda: ["torch", "keras", "mine"])
    assert list(doctor.planned()) == [
        ("torch", None),
        ("keras", "torch"),
        ("keras", "jax"),
        ("mine", None),
    ]
    monkeypatch.setattr(doctor, "is_installed", lambda module: False)
    assert ("keras", "") in list(doctor.planned())


@pytest.mark.slow
def test_what_is_promised_works(cli, torch, read_json):
    content = read_json(cli("doctor", "--json").out)
    tried = {trial["backend"] for trial in content["backends"] if trial["works"]}
    assert tried >= set(installed_backends())
