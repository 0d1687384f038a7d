"""`skdidicm evaluate`: test a model again, perhaps with another sampler.

`evaluate MODEL` is short for `evaluate run MODEL`; runs on image folders have a command of their
own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skdidicm.cli import runs
from skdidicm.cli.console import default_command, print_json, print_scores, say
from skdidicm.cli.evaluate_imagenet import evaluate_imagenet
from skdidicm.cli.options import BackendOptions, SamplerOptions, expand, given
from skdidicm.saving import run_folder

if TYPE_CHECKING:
    from skdidicm.saving.run_folder import DataSource, RunRecord

app = typer.Typer(
    cls=default_command("run"),
    no_args_is_help=True,
    help="Test a model again: 'evaluate MODEL', or 'evaluate imagenet RUN'.",
)
app.command("imagenet")(evaluate_imagenet)


@app.command("run")
@expand
def evaluate(
    *,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Run folder, or the model.skd in it.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data, or file of the table.", show_default="where the run found it"
        ),
    ] = None,
    sampler: SamplerOptions,
    backend: BackendOptions,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Test a model on the test data of its run."""
    source, record = _source(model, data)
    classifier = runs.load_model(model, given(backend), given(sampler))
    split = run_folder.load_data(source)
    changed = run_folder.check_unchanged(record, split)
    if changed is not None:
        say(changed)
    result, _ = runs.score(classifier, split)
    if json:
        content = {"model": str(model), "dataset": source.plain(), "settings": given(sampler)}
        print_json({**content, "n_test": len(split.X_test), "metrics": result})
    else:
        noun = "images" if source.file is None else "rows"
        print_scores(f"{source.title}, {len(split.X_test)} test {noun}", result)


def _source(model: Path, data: Path | None) -> tuple["DataSource", "RunRecord"]:
    """Return the data set of a run, in another folder if one is given, and the run's record."""
    file = run_folder.find_model(model)
    record = run_folder.read_record(file)
    source = None if record is None else record.dataset
    if record is None or source is None:
        raise FileNotFoundError(
            f"{file.with_name(run_folder.METRICS)} with the data of the run is missing; expected "
            "it beside the model, as skdidicm train writes it."
        )
    return (source if data is None else source.moved(data)), record
