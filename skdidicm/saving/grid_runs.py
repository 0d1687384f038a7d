"""The runs of a grid: settings, state and result of each cell, which is one run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdidicm.imagenet.config import changes
from skdidicm.imagenet.grid import Cell
from skdidicm.imagenet.recipes import Resolved, read_toml, resolve
from skdidicm.saving import run_folder

if TYPE_CHECKING:  # the command line imports this module, and help must not wait for NumPy
    from skdidicm.imagenet.trainer import TrainingResult

AXES = ("resolution", "data_ratio", "recipe", "objective")
"""Settings that the grid determines."""


def settings_of(cell: Cell, flags: Mapping[str, Any], file: Path | None) -> Resolved:
    """Return the settings of a cell.

    Parameters
    ----------
    cell : Cell
        Determines the settings in `AXES`.
    flags : mapping
        Settings that were given as options.
    file : Path, optional
        TOML file with settings, which must not be in `AXES`.
    """
    decided = [name for name in AXES if file and name in read_toml(file)]
    if decided:
        raise ValueError(
            f"{file} sets {', '.join(decided)}, which the grid decides; use --resolutions, "
            "--ratios, --recipes or --cells instead."
        )
    own = cell._asdict()
    if cell.objective == "cross-entropy":  # whatever the form of the other cells is
        own |= {"conditioning": "none", "parameterization": "posterior"}
    resolved = resolve({**flags, **own}, file)
    if not resolved.config.data:
        raise ValueError("--data is missing; expected a folder with train/ and val/, or synthetic.")
    origins = resolved.origins | dict.fromkeys(own, "grid")
    return resolved._replace(origins=origins)


def state(folder: Path, resolved: Resolved) -> str:
    """Return "finished", "started" or "to do"."""
    from skdidicm.imagenet.checkpoint import newest

    if is_finished(folder, resolved):
        return "finished"
    return "to do" if newest(folder) is None else "started"


def is_finished(folder: Path, resolved: Resolved) -> bool:
    """Return whether a folder holds the metrics of a complete run of a cell.

    Raises
    ------
    ValueError
        If the run had other settings.
    """
    record = run_folder.read_record(folder)
    if record is None:
        return False
    saved = record.settings or {}
    listed = changes(resolved.config, saved)
    if listed:
        raise ValueError(
            f"{folder} was finished with other settings ({listed}); use those, or another --output."
        )
    return last_epoch(saved) >= last_epoch(resolved.config.plain())


def last_epoch(settings: Mapping[str, Any]) -> int:
    """Return the epoch after which a run ends.

    Examples
    --------
    >>> last_epoch({"epochs": 600, "stop_epoch": 90})
    90
    """
    return int(min(settings["epochs"], settings["stop_epoch"] or settings["epochs"]))


def write_result(folder: Path, resolved: Resolved, result: "TrainingResult") -> None:
    """Write metrics.json, which marks a cell as finished."""
    record = run_folder.RunRecord(
        settings=resolved.config.plain(), class_names=result.classes, metrics=result.metrics
    )
    run_folder.write_record(folder, record)
