"""`skdidicm report`: one HTML page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from skdidicm.cli import runs
from skdidicm.cli.console import print_json, print_path, say


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a model file.")],
    output: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="report.html in the run")
    ] = None,
    n_images: Annotated[
        int, typer.Option(min=0, help="How many of the least confident test rows to show.")
    ] = 24,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data.", show_default="as in the run"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the file's name.")
    ] = False,
) -> None:
    """Write one HTML file about a run: figures, curves, errors and least confident answers."""
    from skdidicm.report import render
    from skdidicm.report.run import facts_of_run, facts_of_unfinished, is_unfinished

    if is_unfinished(run):
        facts = facts_of_unfinished(run)
    else:
        classifier = runs.load_model(run, {}, {})
        about = classifier._facts()
        facts = facts_of_run(run, classifier, about, n_images=n_images, data=data, log=say)
    file = (run if run.is_dir() else run.parent) / "report.html" if output is None else output
    file.write_text(render(facts), encoding="utf-8")
    if json:
        computed = None if facts.test is None else {"n": facts.test.n, **facts.test.scores}
        content = {"output": str(file), "metrics": dict(facts.metrics), "computed": computed}
        print_json({**content, "notes": list(facts.notes)})
    else:
        print_path(file)
