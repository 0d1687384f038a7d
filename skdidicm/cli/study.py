"""`skdidicm study`: compare methods over a grid of data and seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from skdidicm.cli.console import results, say


def study(
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="digits, fashion-mnist, photos (144 classes), embeddings (of the photos), "
            "fonts:K or typefaces:K (K kanji), breast-cancer, wine, iris, digits-table, "
            "covtype-like (synthetic), folder:PATH or table:FILE.csv. Can be repeated, as most "
            "options."
        ),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="Folder with the four idx files of Fashion-MNIST.")
    ] = None,
    n: Annotated[
        list[int] | None, typer.Option(min=1, help="Training rows.", show_default="all")
    ] = None,
    noise: Annotated[
        list[float] | None,
        typer.Option(min=0, help="Noise on the rows, in standard deviations."),
    ] = None,
    resolution: Annotated[
        list[int] | None, typer.Option(min=1, help="Height of the pictures.", show_default="full")
    ] = None,
    ratio: Annotated[
        list[float] | None, typer.Option(help="Share of the training rows of every class.")
    ] = None,
    corrupt: Annotated[
        list[str] | None,
        typer.Option(help="Corruption of all pictures, NAME:SEVERITY such as fog:3; or none."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="didicm, score, paper, cross-entropy, temperature, ensemble, ..."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="auto: a trial chooses the epochs. A number: this multiple of the largest number "
            "of epochs. best or best-accuracy: a multiple chosen on a fifth of the training rows.",
            show_default="auto",
        ),
    ] = None,
    candidate: Annotated[
        list[float] | None,
        typer.Option(help="Budgets to choose from.", show_default="0.25, 0.5 and 1"),
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Steps of the prediction.", show_default="the default, 8"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds: 0, 1, ...")] = 5,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs at budget 1, the most at auto.", show_default="auto"),
    ] = None,
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, ...")] = "auto",
    jobs: Annotated[int, typer.Option(help="Number of cells at a time.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, whose workers run the cells."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Method to compare the others with, at equal budget, or NAME@BUDGET."),
    ] = None,
    tables_only: Annotated[
        bool,
        typer.Option("--tables-only", help="Run nothing; write the tables."),
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder to write; a study in it continues.")],
) -> None:
    """Compare methods over a grid; a study that was stopped continues."""
    from skdidicm.study import Grid, cells, finished, run
    from skdidicm.study.budget import CANDIDATES, parse_budget
    from skdidicm.study.cluster import cluster

    path = output / "cells.jsonl"
    if tables_only:
        rows = finished(path)
        if not rows:
            raise ValueError(f"{path} has no finished cells; expected the --output of a study.")
        _write(rows, output, baseline)
        return
    grid = Grid(
        data=tuple(data or ("digits",)),
        n=tuple(n or (None,)),
        noise=tuple(noise or (0.0,)),
        resolution=tuple(resolution or (None,)),
        corruption=tuple(None if text == "none" else text for text in corrupt or ("none",)),
        ratio=tuple(ratio or (1.0,)),
        seeds=tuple(range(seeds)),
        methods=tuple(method or ("didicm", "cross-entropy")),
        budgets=tuple(map(parse_budget, budget or ("auto",))),
        steps=tuple(steps or (None,)),
    )
    wanted = list(cells(grid))
    say(f"{len(wanted)} cells; finished ones in {path} are not run again.")
    settings = {"device": device} | ({} if epochs is None else {"max_epochs": epochs})
    candidates = tuple(candidate or CANDIDATES)
    with cluster(scheduler):
        rows = run(wanted, path, folder=folder, jobs=jobs, settings=settings, candidates=candidates)
    _write(rows, output, baseline)


def _write(rows: Sequence[Mapping[str, Any]], output: Path, baseline: str | None) -> None:
    """Write and print the tables; write the figures if matplotlib is installed."""
    from skdidicm.study.files import write_figures, write_tables

    for table in write_tables(rows, output, baseline):
        with results():
            typer.echo(table)
    try:
        write_figures(rows, output)
    except ImportError:
        say("no figures: matplotlib is not installed.")
