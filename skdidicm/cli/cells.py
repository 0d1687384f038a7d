"""Cells of a grid as run folders: their settings, their state, and their runs."""

import json as json_text
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdidicm.cli import imagenet, runs
from skdidicm.cli.console import say

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

    saved = details(folder)
    if saved is None:
        return False
    then = saved["settings"]
    listed = changes(resolved.config, then)
    if listed:
        raise ValueError(
            f"{folder} was finished with other settings ({listed}); use those, or another --output."
        )
    return last_epoch(then) >= last_epoch(resolved.config.plain())


def last_epoch(settings: Mapping[str, Any]) -> int:
    """Return the epoch after which a run ends."""
    return int(min(settings["epochs"], settings["stop_epoch"] or settings["epochs"]))


def details(folder: Path) -> "dict[str, Any] | None":
    """Return the contents of a cell's metrics.json, or None if there is none."""
    file = folder / runs.METRICS
    if not file.is_file():
        return None
    try:
        details: dict[str, Any] = json_text.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{file} is damaged ({error}); remove it, and the cell is evaluated again."
        ) from error
    return details


def run_cells(
    todo: Mapping["Cell", "Resolved"], output: Path, after_each: Callable[[], object]
) -> None:
    """Run or resume cells one by one; the first process calls `after_each` after each of them."""
    for i, (cell, resolved) in enumerate(todo.items(), start=1):
        if is_first():
            say(f"cell {i} of {len(todo)}: {cell.name}")
        folder = output / cell.name
        result = imagenet.run(resolved, folder)
        if result is not None:
            _write(folder, resolved, result)
            after_each()


def _write(folder: Path, resolved: "Resolved", result: "TrainingResult") -> None:
    """Write metrics.json, which marks a cell as finished."""
    from importlib.metadata import version

    content = {
        "skdidicm": version("skdidicm"),
        "settings": resolved.config.plain(),
        "class_names": result.classes,
        "metrics": result.metrics,
    }
    runs.write_details(folder, content)


def is_first() -> bool:
    """Return whether this process writes files and messages for all."""
    return os.environ.get("RANK", "0") == "0"
