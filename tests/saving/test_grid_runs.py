import json
from dataclasses import replace

import numpy as np
import pytest

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.grid import Cell
from skdidicm.imagenet.trainer import TrainingResult
from skdidicm.saving import grid_runs

CELL = Cell(56, 0.25, "weak", "score-entropy")
BASELINE = CELL._replace(objective="cross-entropy")


def settings(cell=CELL, file=None, **flags):
    return grid_runs.settings_of(cell, {"data": "x", "epochs": 4, **flags}, file)


def finish(folder, settings):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"settings": settings, "class_names": ["a", "b"], "metrics": {"accuracy": 0.5}}
    (folder / "metrics.json").write_text(json.dumps(content))


def test_the_grid_determines_its_axes_whatever_the_options_say():
    resolved = settings(resolution=112, recipe="strong")
    assert (resolved.config.resolution, resolved.config.recipe) == (56, "weak")
    for axis in grid_runs.AXES:
        expected = getattr(CELL, axis)
        assert getattr(resolved.config, axis) == (
            "score_entropy" if axis == "objective" else expected
        )
        assert resolved.origins[axis] == "grid"
    assert resolved.origins["epochs"] == "--epochs"


def test_the_baseline_has_no_conditioning_whatever_the_other_cells_have():
    assert settings(conditioning="last").config.conditioning == "last"
    assert settings(BASELINE, conditioning="last").config.conditioning == "none"


def test_a_file_cannot_set_an_axis_of_the_grid(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('recipe = "strong"\n')
    with pytest.raises(ValueError, match="sets recipe, which the grid decides"):
        settings(file=file)


def test_a_cell_without_data_is_refused():
    with pytest.raises(ValueError, match="--data is missing"):
        grid_runs.settings_of(CELL, {}, None)


def test_a_cell_is_to_do_then_started_then_finished(tmp_path):
    resolved = settings()
    assert grid_runs.state(tmp_path, resolved) == "to do"
    saved = files.Checkpoint({"x": np.zeros(1)}, {"update": 3})
    files.write(files.path_of(tmp_path, 3), saved)
    assert grid_runs.state(tmp_path, resolved) == "started"
    finish(tmp_path, resolved.config.plain())
    assert grid_runs.state(tmp_path, resolved) == "finished"


@pytest.mark.parametrize(
    ("stopped_at", "wanted", "finished"), [(2, None, False), (2, 2, True), (2, 3, False)]
)
def test_a_cell_that_ended_early_is_finished_only_if_no_more_epochs_are_asked_for(
    tmp_path, stopped_at, wanted, finished
):
    resolved = settings(stop_epoch=wanted)
    finish(tmp_path, replace(resolved.config, stop_epoch=stopped_at).plain())
    assert grid_runs.is_finished(tmp_path, resolved) is finished


def test_figures_of_other_settings_are_refused_but_free_settings_may_differ(tmp_path):
    resolved = settings()
    finish(tmp_path, replace(resolved.config, workers=3, data="elsewhere").plain())
    assert grid_runs.is_finished(tmp_path, resolved)
    finish(tmp_path, replace(resolved.config, seed=7).plain())
    with pytest.raises(ValueError, match=r"finished with other settings \(seed 7 -> 0\)"):
        grid_runs.is_finished(tmp_path, resolved)


def test_a_result_marks_its_cell_as_finished(tmp_path):
    resolved = settings()
    grid_runs.write_result(
        tmp_path, resolved, TrainingResult(tmp_path / "x", {"accuracy": 0.5}, ["a", "b"])
    )
    assert grid_runs.is_finished(tmp_path, resolved)
