"""Cells of a grid as run folders: their settings, their state, and their runs."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdidicm.cli import imagenet
from skdidicm.cli.console import say
from skdidicm.saving import run_folder

if TYPE_CHECKING:
    from skdidicm.imagenet.grid import Cell
    from skdidicm.imagenet.recipes import Resolved
    from skdidicm.imagenet.trainer import TrainingResult

AXES = ("resolution", "data_ratio", "recipe", "objective")
"""Settings that the grid determines."""


def settle(cell: "Cell", flags: Mapping[str, Any], file: Path | None) -> "Resolved":
    """Return the settings of a cell."""
    from skdidicm.imagenet.recipes import read_toml, resolve

    decided = [name for name in AXES if file and name in read_toml(file)]
    if decided:
        raise ValueError(
            f"{file} sets {', '.join(decided)}, which the grid decides; use --resolutions, "
            "--ratios, --recipes or --cells instead."
        )
    own = cell._asdict()
    if cell.objective == "cross-entropy":  # whatever the conditioning of the other cells is
        own["conditioning"] = "none"
    resolved = resolve({**flags, **own}, file)
    if not resolved.config.data:
        raise ValueError("--data is missing; expected a folder with train/ and val/, or synthetic.")
    origins = resolved.origins | dict.fromkeys(own, "grid")
    return resolved._replace(origins=origins)


def state(folder: Path, resolved: "Resolved") -> str:
    """Return "finished", "started" or "to do"."""
    from skdidicm.imagenet.checkpoint import newest

    if finished(folder, resolved):
        return "finished"
    return "to do" if newest(folder) is None else "started"


def finished(folder: Path, resolved: "Resolved") -> bool:
    """Return whether a folder holds the figures of a complete run of a cell.

    Raises
    ------
    ValueError
        If the run had other settings.
    """
    from skdidicm.imagenet.config import changes
    from skdidicm.report.table1 import last_epoch

    saved = run_folder.read_record(folder)
    if saved is None:
        return False
    then = saved.settings or {}
    listed = changes(resolved.config, then)
    if listed:
        raise ValueError(
            f"{folder} was finished with other settings ({listed}); use those, or another --output."
        )
    return last_epoch(then) >= last_epoch(resolved.config.plain())


def run_cells(
    todo: Mapping["Cell", "Resolved"], output: Path, after_each: Callable[[], object]
) -> None:
    """Run or resume cells one by one; the first process calls `after_each` after each of them."""
    for i, (cell, resolved) in enumerate(todo.items(), start=1):
        if is_first():
            say(f"cell {i} of {len(todo)}: {cell.name}")
        folder = output / cell.name
        imagenet.run(resolved, folder, partial(_write, folder, resolved))
        if is_first():
            after_each()


def _write(folder: Path, resolved: "Resolved", result: "TrainingResult") -> None:
    """Write metrics.json, which marks a cell as finished."""
    record = run_folder.RunRecord(
        settings=resolved.config.plain(), class_names=result.classes, metrics=result.metrics
    )
    run_folder.write_record(folder, record)


def is_first() -> bool:
    """Return whether this process writes files and messages for all."""
    return os.environ.get("RANK", "0") == "0"
