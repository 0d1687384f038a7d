"""`skdidicm study`: compare methods over a grid of data and seeds."""

from pathlib import Path
from typing import Annotated

import typer

from skdidicm.cli.console import say


def study(
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(help="digits, fashion-mnist, breast-cancer or wine; may be repeated."),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="Folder with the four idx files of Fashion-MNIST.")
    ] = None,
    n: Annotated[
        list[int] | None, typer.Option(min=1, help="Training rows.", show_default="all")
    ] = None,
    noise: Annotated[
        list[float] | None, typer.Option(min=0, help="Noise, in standard deviations.")
    ] = None,
    resolution: Annotated[
        list[int] | None, typer.Option(min=1, help="Height of pictures.", show_default="full")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="didicm, score, paper, cross-entropy, temperature, ensemble, ..."),
    ] = None,
    budget: Annotated[
        list[float] | None, typer.Option(help="Epochs, as a multiple of the default.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ...")] = 5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs at budget 1.", show_default="auto")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "auto",
    jobs: Annotated[int, typer.Option(help="Cells at a time, through joblib.")] = 1,
    output: Annotated[Path, typer.Option(help="Folder to write; go on with what is there.")],
) -> None:
    """Compare methods over a grid; a study that was stopped goes on where it was."""
    from skdidicm.study import Grid, cells, run

    grid = Grid(
        data=tuple(data or ("digits",)),
        n=tuple(n or (None,)),
        noise=tuple(noise or (0.0,)),
        resolution=tuple(resolution or (None,)),
        seeds=tuple(range(seeds)),
        methods=tuple(method or ("didicm", "cross-entropy")),
        budgets=tuple(budget or (1.0,)),
    )
    wanted = list(cells(grid))
    say(f"{len(wanted)} cells; those in {output / 'cells.jsonl'} are not run again.")
    settings = {"device": device} | ({} if epochs is None else {"max_epochs": epochs})
    rows = run(wanted, output / "cells.jsonl", folder=folder, jobs=jobs, settings=settings)
    write(rows, output)


def write(rows: list[dict[str, object]], output: Path) -> None:
    """Write the tables, and the figures if matplotlib is there."""
    from skdidicm.study import summarise, to_csv, to_markdown

    summary = summarise(rows)
    (output / "cells.csv").write_text(to_csv(rows), encoding="utf-8")
    parts = (f"{name}\n\n{to_markdown(summary, name)}" for name in ("accuracy", "nll", "ece"))
    text = "\n".join(parts)
    (output / "table.md").write_text(text, encoding="utf-8")
    typer.echo(text)
    try:
        import matplotlib as _  # noqa: F401
    except ImportError:
        say("no figures: matplotlib is not installed.")
        return
    from skdidicm.study.figures import against

    against(summary, "noise", "nll").savefig(output / "nll_against_noise.png", dpi=150)
    against(summary, "calls", "accuracy").savefig(output / "accuracy_against_calls.png", dpi=150)
