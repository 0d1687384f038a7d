"""The paper's Table 1 from the run folders of its cells: Markdown, CSV and a figure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skdidicm.imagenet import table
from skdidicm.imagenet.grid import Cell
from skdidicm.imagenet.table import TableFacts
from skdidicm.saving import run_folder
from skdidicm.saving.grid_runs import last_epoch
from skdidicm.saving.run_folder import RunFolderError, RunRecord

TABLE = "table1"
_FOREIGN = (
    run_folder.MODEL,
    run_folder.METRICS,
    run_folder.HISTORY,
    run_folder.CONFIG,
    "checkpoints",
    "cells.jsonl",
)


@contextmanager
def hold_for_cells(output: Path) -> Iterator[None]:
    """Hold a folder of cells; no other process may run cells in it.

    Raises
    ------
    RunFolderError
        If another process holds the folder, or it is a run folder itself or that of a study.
    """
    with run_folder.locked(output):
        foreign = [name for name in _FOREIGN if (output / name).exists()]
        if foreign:
            raise RunFolderError(
                f"{output} holds {foreign[0]} of another command; expected a folder of skdidicm "
                "reproduce table1 or a new one, so choose another --output."
            )
        yield


def write_table(
    cells: Sequence[Cell], output: Path
) -> "tuple[list[table.TableRow], TableFacts, bool] | None":
    """Write table1.md, table1.csv and, with matplotlib, table1.png from the finished cells.

    Returns
    -------
    rows, facts, drawn
        The content of the table, and whether there is a figure; None if no cell is finished.
    """
    read = {cell: run_folder.read_record(output / cell.name) for cell in cells}
    found = {cell: record for cell, record in read.items() if record is not None}
    if not found:
        return None
    facts = gather_facts(found.values())
    rows = table.rows(cells, {cell: record.metrics or {} for cell, record in found.items()})
    (output / f"{TABLE}.md").write_text(table.markdown(rows, facts), encoding="utf-8")
    (output / f"{TABLE}.csv").write_text(table.as_csv(rows, facts), encoding="utf-8")
    return rows, facts, _draw(rows, facts, output / f"{TABLE}.png")


def gather_facts(records: Iterable[RunRecord]) -> TableFacts:
    """Return what all cells have in common.

    Raises
    ------
    ValueError
        If they were trained on different data.
    """
    every = list(records)
    metrics = [record.metrics or {} for record in every]
    settings = [record.settings or {} for record in every]
    classes = [list(record.class_names or ()) for record in every]
    n_vals = {figures["n_images"] for figures in metrics}
    if len(n_vals) > 1 or any(names != classes[0] for names in classes):
        raise ValueError(
            "the finished cells were evaluated on different data, which do not belong in one "
            "table; choose another --output."
        )
    (n_val,) = n_vals
    n_train = _count_training(settings[0])
    return TableFacts(
        data=settings[0]["data"],
        n_classes=len(classes[0]),
        n_train=n_train,
        n_val=n_val,
        model=_every(given["model"] for given in settings),
        epochs=_every(last_epoch(given) for given in settings),
        sampler=_every("{sampler}, {steps} steps".format(**given) for given in settings),
        is_imagenet=table.is_imagenet(classes[0], n_train, n_val),
    )


def _every(values: Iterable[object]) -> str:
    """Return all different values: cells of one table may differ, but it has to say so."""
    return " and ".join(dict.fromkeys(map(str, values)))


def _count_training(settings: Mapping[str, Any]) -> int | None:
    """Return the number of training images, or None if they are in no folder."""
    from skdidicm.folders import find_split, scan

    if settings["reader"] or not Path(settings["data"]).is_dir():
        return None
    return len(scan(find_split(Path(settings["data"]), "train")).files)


def _draw(rows: Sequence[Any], facts: TableFacts, path: Path) -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    from skdidicm.plotting.comparison import draw_comparison

    what = "ImageNet-1k" if facts.is_imagenet else f"not ImageNet-1k, but {facts.data}"
    title = f"{what}: {facts.n_classes} classes, {facts.model}, epochs: {facts.epochs}"
    draw_comparison(rows, title).savefig(path, dpi=120)
    return True
