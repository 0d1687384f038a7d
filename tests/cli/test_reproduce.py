import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from skdidicm.cli import reproduce
from skdidicm.imagenet.config import SETTINGS
from skdidicm.imagenet.grid import Cell
from skdidicm.imagenet.trainer import TrainingResult
from skdidicm.saving import run_folder
from skdidicm.saving.grid_runs import settings_of

EXAMPLE = Path(__file__).parents[2] / "docs/examples/photo_patches.py"
GRID = ("--resolutions", "16", "--ratios", "1", "--recipes", "weak")
QUICK = (*GRID, "--model", "didirn-tiny", "--epochs", "1", "--warmup-epochs", "0", "--steps", "2")
SMALL = (*QUICK, "--batch-size", "8", "--global-batch", "16", "--workers", "0", "--device", "cpu")
NAMES = ["16-1-weak-cross-entropy", "16-1-weak-score-entropy"]


@pytest.fixture
def photos(tmp_path):
    """Patches of scikit-image's photographs, by the script of the documentation."""
    pytest.importorskip("skimage")
    spec = importlib.util.spec_from_file_location("photo_patches", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_tree(tmp_path / "photos", 8, 3, 24, module.PHOTOGRAPHS[:4])
    return tmp_path / "photos"


@pytest.fixture
def trained(monkeypatch):
    """A trainer that only notes what it was asked for, in place of one that trains."""
    asked = []

    def train(config, output):
        asked.append(SimpleNamespace(config=config, name=output.folder.name))
        accuracy = 0.5 if config.objective == "cross_entropy" else 0.75
        metrics = {"n_images": 9, "accuracy": accuracy, "top5_accuracy": 1.0, "nll": 1, "ece": 0.1}
        classes = ["cat", "dog"]
        if os.environ.get("RANK", "0") != "0":
            return None
        output.claim()
        output.begin()
        return TrainingResult(Path("x"), metrics, classes)

    trainer = SimpleNamespace(check=lambda config: None, train=train)
    monkeypatch.setattr("skdidicm.imagenet.trainer.get_trainer", lambda _: trainer)
    return asked


def test_the_plan_lists_the_papers_grid_and_writes_nothing(cli, tmp_path, read_json):
    output = tmp_path / "table"
    result = cli("reproduce", "table1", "--data", "x", "--plan", "--json", "--output", output)
    assert result.code == 0, result.err
    listed = read_json(result.out)["cells"]
    assert len(listed) == 36
    assert {cell["state"] for cell in listed} == {"to do"}
    assert {cell["epochs"] for cell in listed} == {600}
    assert not output.exists()


def test_every_cell_gets_the_settings_of_its_recipe():
    weak = settings_of(Cell(56, 0.25, "weak", "score-entropy"), {"data": "x"}, None).config
    strong = settings_of(Cell(56, 0.25, "strong", "cross-entropy"), {"data": "x"}, None).config
    assert (weak.learning_rate, weak.global_batch, weak.mixup) == (4e-3, 1024, 0)
    assert (strong.learning_rate, strong.global_batch, strong.mixup) == (3.5e-3, 2048, 0.2)
    assert (weak.conditioning, strong.conditioning) == ("blocks", "none")
    assert weak.resolution == strong.resolution == 56


def test_a_conditioning_leaves_the_baseline_without_one(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('conditioning = "last"\ndata = "x"\nsteps = 4\n')
    baseline = settings_of(Cell(56, 1.0, "weak", "cross-entropy"), {}, file).config
    didicm = settings_of(Cell(56, 1.0, "weak", "score-entropy"), {"steps": 3}, file).config
    assert (baseline.conditioning, didicm.conditioning) == ("none", "last")
    assert (baseline.steps, didicm.steps) == (4, 3)


def test_a_file_must_not_set_what_the_grid_decides(cli, tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text("resolution = 48\n")
    result = cli("reproduce", "table1", "--data", "x", "--config", file, "--plan")
    assert result.code == 1
    assert "resolution" in result.err
    assert "--resolutions" in result.err


def test_every_setting_but_the_axes_is_an_option():
    offered = {field.name for field in fields(reproduce.GridOptions)}
    assert offered == set(SETTINGS) - set(reproduce.AXES)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--cells", "57"], "57"),
        (["--resolutions", "big"], "--resolutions"),
        (["--ratios", "2"], "--data-ratio"),
        (["--recipes", "mild"], "mild"),
        (["--epochs", "0"], "--epochs"),
    ],
)
def test_a_wrong_grid_is_one_sentence(cli, arguments, named):
    result = cli("reproduce", "table1", "--data", "x", *arguments, "--plan")
    assert result.code == 1
    assert named in result.err
    assert result.err.count("\n") == 1


def test_cells_run_in_turn_and_end_in_one_table(cli, trained, tmp_path, read_json):
    pytest.importorskip("matplotlib")
    result = cli("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path, "--json")
    assert result.code == 0, result.err
    assert [one.name for one in trained] == NAMES
    assert f"cell 2 of 2: {NAMES[1]}" in result.err
    assert {one.config.data for one in trained} == {"x"}
    (row,) = read_json(result.out)["rows"]
    assert row["baseline"]["accuracy"] == 0.5
    assert row["didicm"]["accuracy"] == 0.75
    text = (tmp_path / "table1.md").read_text()
    assert "+25.00 / +0.00" in text
    assert "Not ImageNet-1k" in text
    assert (tmp_path / "table1.csv").read_text().startswith("resolution,")
    assert (tmp_path / "table1.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_cell_is_not_run_again(cli, trained, tmp_path, read_json):
    command = ("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path)
    assert cli(*command, "--cells", "*:*:*:cross-entropy").code == 0
    plan = read_json(cli(*command, "--plan", "--json").out)["cells"]
    assert [cell["state"] for cell in plan] == ["finished", "to do"]
    assert cli(*command).code == 0
    assert [one.name for one in trained] == NAMES
    again = cli(*command, "--json")
    assert len(trained) == 2
    assert read_json(again.out)["rows"][0]["didicm"]["accuracy"] == 0.75


def test_a_cell_that_was_to_stop_early_goes_on(cli, trained, tmp_path):
    command = ("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path)
    some = (*command, "--epochs", "4", "--cells", "::weak:score-entropy")
    cli(*some, "--stop-epoch", "2")
    cli(*some, "--stop-epoch", "2")
    assert len(trained) == 1
    cli(*some)
    assert len(trained) == 2


def test_a_finished_cell_of_other_settings_is_refused(cli, trained, tmp_path):
    command = ("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path)
    cli(*command)
    result = cli(*command, "--epochs", "5")
    assert result.code == 1
    assert "epochs 1 -> 5" in result.err
    assert len(trained) == 2


def test_a_table_of_different_epochs_says_so(cli, trained, tmp_path):
    command = ("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path)
    cli(*command, "--cells", "::weak:cross-entropy")
    cli(*command, "--cells", "::weak:score-entropy", "--epochs", "7")
    assert "Epochs: 1 and 7." in (tmp_path / "table1.md").read_text()


def test_cells_of_different_data_do_not_share_a_table(cli, trained, tmp_path):
    command = ("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path)
    cli(*command, "--cells", "::weak:cross-entropy")
    file = tmp_path / NAMES[0] / "metrics.json"
    details = json.loads(file.read_text())
    file.write_text(json.dumps({**details, "class_names": ["elk", "fox"]}))
    result = cli(*command)
    assert result.code == 1
    assert "different data" in result.err


def test_a_later_process_writes_and_prints_nothing(cli, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = cli("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert len(trained) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_grid_that_another_process_runs_is_refused(cli, trained, tmp_path):
    with run_folder.locked(tmp_path / "table"):
        result = cli("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path / "table")
    assert (result.code, result.out, trained) == (1, "", [])
    assert "is being written by process" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.skd", "history.jsonl", "cells.jsonl", "config.json"])
def test_a_folder_of_another_command_is_refused(cli, trained, tmp_path, name):
    (tmp_path / name).write_text("{}")
    result = cli("reproduce", "table1", "--data", "x", *SMALL, "--output", tmp_path)
    assert (result.code, result.out, trained) == (1, "", [])
    assert f"holds {name} of another command" in result.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.imagenet
def test_photographs_are_trained_on_end_to_end(torch, cli, photos, tmp_path, read_json):
    pytest.importorskip("timm")
    output = tmp_path / "table"
    command = ("reproduce", "table1", "--data", photos, *SMALL, "--output", output, "--json")
    result = cli(*command)
    assert result.code == 0, result.err
    content = read_json(result.out)
    assert content["facts"] | {"data": ""} == {
        "data": "",
        "n_classes": 4,
        "n_train": 32,
        "n_val": 12,
        "model": "didirn-tiny",
        "epochs": "1",
        "sampler": "cp, 2 steps",
        "is_imagenet": False,
    }
    for name, who in zip(NAMES, ("baseline", "didicm"), strict=True):
        metrics = json.loads((output / name / "metrics.json").read_text())["metrics"]
        assert metrics == content["rows"][0][who]
        assert metrics["n_images"] == 12


@pytest.mark.imagenet
@pytest.mark.slow
def test_two_processes_share_the_cells(torch, photos, tmp_path):
    pytest.importorskip("timm")
    arguments = ["reproduce", "table1", "--data", photos, *SMALL, "--output", tmp_path / "table"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "skdidicm", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["baseline"]["n_images"] == row["didicm"]["n_images"] == 12
