"""`skdidicm reproduce table1`: the paper's grid of runs, and one table and figure of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, make_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from skdidicm.cli import imagenet
from skdidicm.cli.console import is_first, print_json, print_table, say
from skdidicm.cli.options import expand, given
from skdidicm.saving.grid_runs import AXES

if TYPE_CHECKING:
    from skdidicm.imagenet.grid import Cell
    from skdidicm.imagenet.recipes import Resolved
    from skdidicm.imagenet.table import TableRow


app = typer.Typer(no_args_is_help=True, help="Run what the paper's tables are made of.")


@app.callback()
def reproduce() -> None:
    """Run what the paper's tables are made of."""


_hints = get_type_hints(imagenet.RunOptions, include_extras=True)
GridOptions: Any = make_dataclass(
    "GridOptions",
    [(f.name, _hints[f.name], None) for f in fields(imagenet.RunOptions) if f.name not in AXES],
    kw_only=True,
    frozen=True,
)


@app.command()
@expand
def table1(
    *,
    settings: GridOptions,
    resolutions: Annotated[
        str, typer.Option(help="Sides in pixels, separated by commas.", rich_help_panel="Grid")
    ] = "224,112,56",
    ratios: Annotated[
        str, typer.Option(help="Shares of the training images.", rich_help_panel="Grid")
    ] = "1,0.5,0.25",
    recipes: Annotated[
        str, typer.Option(help="Recipes of the paper.", rich_help_panel="Grid")
    ] = "weak,strong",
    cells: Annotated[
        str,
        typer.Option(
            help="Cells to run: RESOLUTION:RATIO:RECIPE:OBJECTIVE, * for all, separated by commas.",
            show_default="all",
            rich_help_panel="Grid",
        ),
    ] = "*",
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; options given here come first.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the run folders and the table.")] = Path(
        "runs/table1"
    ),
    plan: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Print the cells and their state, and end.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Run or resume {224, 112, 56} px x {100, 50, 25}% x {weak, strong}, against the baseline.

    A cell that is finished is not run again. Under torchrun all devices work on one cell at a time.
    """
    from skdidicm.imagenet import grid
    from skdidicm.report.table1 import hold_for_cells, write_table
    from skdidicm.saving import grid_runs

    whole = grid.plan(
        _numbers(resolutions, int, "--resolutions"),
        _numbers(ratios, float, "--ratios"),
        [recipe.strip() for recipe in recipes.split(",")],
    )
    flags = given(settings)
    wanted = {c: grid_runs.settings_of(c, flags, config) for c in grid.select(whole, cells)}
    if plan:
        _print_plan(wanted, output, json=json)
        return
    with hold_for_cells(output) if is_first() else nullcontext():
        todo = {
            cell: resolved
            for cell, resolved in wanted.items()
            if not grid_runs.is_finished(output / cell.name, resolved)
        }
        _run_cells(todo, output, lambda: write_table(whole, output))
        if is_first():
            _print_written(whole, output, json=json)


def _run_cells(
    todo: Mapping["Cell", "Resolved"], output: Path, after_each: Callable[[], object]
) -> None:
    """Run or resume cells one by one; the first process calls `after_each` after each of them."""
    from skdidicm.saving import grid_runs, image_run

    for i, (cell, resolved) in enumerate(todo.items(), start=1):
        if is_first():
            say(f"cell {i} of {len(todo)}: {cell.name}")
        folder = output / cell.name
        image_run.train(resolved, folder, partial(grid_runs.write_result, folder, resolved))
        if is_first():
            after_each()


def _numbers(text: str, kind: Any, flag: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"{flag} is {text!r}; expected numbers separated by commas, such as 56,112."
        ) from error


def _print_written(whole: Sequence["Cell"], output: Path, *, json: bool) -> None:
    from skdidicm.imagenet.table import HEADER, caption, cells_of
    from skdidicm.report.table1 import write_table

    written = write_table(whole, output)
    if written is None:
        raise ValueError(f"no cell of {output} is finished; expected at least one.")
    rows, facts, drawn = written
    if not drawn:
        say('No figure without matplotlib; install it with: pip install "skdidicm[plot]"')
    if json:
        print_json({"output": str(output), "facts": facts._asdict(), "rows": _plain(rows)})
    else:
        print_table(None, HEADER, [cells_of(row) for row in rows])
        say(caption(facts).replace("**", ""))
    say(f"Written to {output}")


def _plain(rows: Sequence["TableRow"]) -> list[dict[str, Any]]:
    return [
        row.setting._asdict()
        | {"baseline": row.baseline, "didicm": row.didicm}
        | {"reported": row.reported and row.reported._asdict()}
        for row in rows
    ]


def _print_plan(wanted: Mapping["Cell", "Resolved"], output: Path, *, json: bool) -> None:
    from skdidicm.saving.grid_runs import state

    rows = []
    for cell, resolved in wanted.items():
        c = resolved.config
        found = state(output / cell.name, resolved)
        rows.append({"cell": cell.name, "state": found, "epochs": c.epochs, "model": c.model})
        rows[-1] |= {"global_batch": c.global_batch, "learning_rate": c.learning_rate}
    if json:
        print_json({"output": str(output), "cells": rows})
        return
    header = ("Cell", "State", "Epochs", "Model", "Images per update", "Peak learning rate")
    print_table(None, header, [[str(value) for value in row.values()] for row in rows])
