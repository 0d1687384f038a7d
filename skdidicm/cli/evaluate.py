"""`skdidicm evaluate`: test a model again, perhaps with another sampler.

`evaluate MODEL` is short for `evaluate run MODEL`; runs on folders of pictures have a command of
their own.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from skdidicm.cli import runs
from skdidicm.cli.console import default_command, print_json, print_scores
from skdidicm.cli.evaluate_imagenet import evaluate_imagenet
from skdidicm.cli.options import PlaceOptions, SamplerOptions, expand, given

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
        typer.Option(help="Folder of the data.", show_default="where the run found it"),
    ] = None,
    sampler: SamplerOptions,
    place: PlaceOptions,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Test a model on the test data of its run."""
    from skdidicm.cli.train import score

    dataset = _dataset(model, data)
    classifier = runs.load_model(model, given(place), given(sampler))
    split = runs.load_split(dataset)
    result, _ = score(classifier, split)
    if json:
        content = {"model": str(model), "dataset": dataset, "settings": given(sampler)}
        print_json({**content, "n_test": len(split.X_test), "metrics": result})
    else:
        print_scores(f"{dataset['name']}, {len(split.X_test)} test images", result)


def _dataset(model: Path, data: Path | None) -> dict[str, Any]:
    """Return the data set of a run, in another folder if one is given."""
    dataset = runs.read_details(model).get("dataset")
    if not isinstance(dataset, dict):
        raise FileNotFoundError(
            f"{runs.find_model(model).with_name(runs.METRICS)} with the data of the run is missing;"
            " expected it beside the model, as skdidicm train writes it."
        )
    if data is None:
        return dataset
    if "folder" not in dataset:
        raise ValueError(
            f"the data set {dataset.get('name')} needs no folder; leave out --data {data}."
        )
    return {**dataset, "folder": str(data.resolve())}
