"""`skdidicm study`: compare methods over a grid of data and seeds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from skdidicm.cli.console import say

Row = dict[str, Any]


def study(
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="digits, fashion-mnist, photos (144 classes), embeddings (of these), "
            "breast-cancer, wine, iris, digits-table, covtype-like (synthetic), folder:PATH or "
            "table:FILE.csv; may be repeated."
        ),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="Folder with the four idx files of Fashion-MNIST.")
    ] = None,
    n: Annotated[
        list[int] | None, typer.Option(min=1, help="Training rows.", show_default="all")
    ] = None,
    noise: Annotated[
        list[float] | None, typer.Option(min=0, help="Noise on the rows, in standard deviations.")
    ] = None,
    resolution: Annotated[
        list[int] | None, typer.Option(min=1, help="Height of pictures.", show_default="full")
    ] = None,
    ratio: Annotated[
        list[float] | None, typer.Option(help="Share of the training rows, of every class.")
    ] = None,
    corrupt: Annotated[
        list[str] | None,
        typer.Option(help="NAME:SEVERITY such as fog:3, of training and test pictures; or none."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="didicm, score, paper, cross-entropy, temperature, ensemble, ..."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="auto: the epochs that a trial chooses; or a multiple of the most it could; best "
            "or best-accuracy: such a multiple, chosen on a fifth of the training rows.",
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
        typer.Option(min=1, help="Epochs at budget 1, and the most at auto.", show_default="auto"),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")] = "auto",
    jobs: Annotated[int, typer.Option(help="Processes, one cell each at a time.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, whose workers run the cells."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Method to compare the others with, at equal budget; or NAME@BUDGET."),
    ] = None,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Run nothing; write all that is finished.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder to write; go on with what is there.")],
) -> None:
    """Compare methods over a grid; a study that was stopped goes on where it was."""
    from skdidicm.study import Grid, cells, finished, run
    from skdidicm.study.budget import CANDIDATES, parse_budget
    from skdidicm.study.cluster import cluster

    path = output / "cells.jsonl"
    if tables_only:
        write(finished(path), output, baseline)
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
    say(f"{len(wanted)} cells; those in {path} are not run again.")
    settings = {"device": device} | ({} if epochs is None else {"max_epochs": epochs})
    candidates = tuple(candidate or CANDIDATES)
    with cluster(scheduler):
        rows = run(wanted, path, folder=folder, jobs=jobs, settings=settings, candidates=candidates)
    write(rows, output, baseline)


def write(rows: list[Row], output: Path, baseline: str | None = None) -> None:
    """Write the tables, and the figures if matplotlib is there."""
    from skdidicm.study import FIGURES, compare, summarise, to_csv, to_markdown
    from skdidicm.study.comparison import to_text

    summary = summarise(rows)
    known = [name for name in FIGURES if any(name in row for row in summary)]
    tables = {name: f"{name}\n\n{to_markdown(summary, name)}\n" for name in known}
    _save(output / "results.csv", to_csv(rows))
    _save(output / "results.md", "".join(tables.values()))
    typer.echo("".join(tables[name] for name in ("accuracy", "nll", "ece")))
    if baseline is not None:
        text = f"against {baseline}, mean over cells and worst cell\n\n{to_text(rows, baseline)}"
        _save(output / "comparison.csv", to_csv(compare(rows, baseline)))
        _save(output / "comparison.md", text)
        typer.echo(text)
    _draw(summary, output)


def _save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _draw(summary: list[Row], output: Path) -> None:
    try:
        import matplotlib as _  # noqa: F401
    except ImportError:
        say("no figures: matplotlib is not installed.")
        return
    from skdidicm.study.figures import against, axes_of, with_severity

    rows = with_severity(summary)
    for x in axes_of(rows):
        for y in ("accuracy", "nll"):
            against(rows, x, y).savefig(output / f"{y}_against_{x}.png", dpi=150)
