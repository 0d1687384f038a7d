import inspect
import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest

from skdidicm import DiDiClassifier
from skdidicm.cli.options import SamplerOptions, TrainOptions

COMMANDS = [
    [],
    ["train"],
    ["train", "digits"],
    ["train", "fashion-mnist"],
    ["evaluate"],
    ["predict"],
    ["info"],
    ["backends"],
    ["check-data"],
    ["reproduce"],
    ["reproduce", "table1"],
    ["report"],
    ["doctor"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(cli, command):
    for flag in ("--help", "-h"):
        result = cli(*command, flag)
        assert result.code == 0
        assert " ".join(["Usage: skdidicm", *command]) in result.out


def test_help_imports_nothing_heavy():
    code = """
import sys
from skdidicm.cli import app
try:
    app(["train", "digits", "--help"], prog_name="skdidicm")
except SystemExit as end:
    assert not end.code
heavy = {"numpy", "scipy", "sklearn", "torch", "matplotlib", "PIL", "safetensors"}
sys.exit(", ".join(sorted(heavy & sys.modules.keys())) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_module_runs_under_the_name_of_the_script():
    done = subprocess.run(
        [sys.executable, "-m", "skdidicm", "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert "Usage: skdidicm [OPTIONS] COMMAND" in done.stdout


def test_the_version_is_that_of_the_distribution(cli):
    from importlib.metadata import version

    assert cli("--version").out == f"skdidicm {version('skdidicm')}\n"


@pytest.mark.parametrize("field", fields(TrainOptions), ids=lambda field: field.name)
def test_options_show_the_defaults_of_the_classifier(field):
    default = inspect.signature(DiDiClassifier).parameters[field.name].default
    (option,) = get_type_hints(TrainOptions, include_extras=True)[field.name].__metadata__
    assert field.default is None
    assert option.show_default == {False: "no", True: "yes"}.get(default, str(default))


@pytest.mark.parametrize("command", ["evaluate run", "predict"])
def test_a_sampler_that_is_not_chosen_is_that_of_the_model(cli, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = cli(*command.split(), "--help").out.splitlines()
    for field in fields(SamplerOptions):
        (line,) = [line for line in lines if f"--{field.name.replace('_', '-')} " in line]
        assert "[default: (the model's)]" in line
    assert "[default: (8)]" in cli("train", "digits", "--help").out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["train", "digits", "--epoch-count", "3"], "--epoch-count"),
        (["train", "digits", "--steps", "many"], "--steps"),
        (["train", "fashion-mnist"], "--data"),
        (["predict", "model.skd"], "FILES"),
        (["predict", "model.skd", "a.npy", "--format", "xml"], "xml"),
    ],
)
def test_wrong_usage_exits_with_two(cli, arguments, named):
    result = cli(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert named in result.err
