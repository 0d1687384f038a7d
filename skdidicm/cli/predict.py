"""`skdidicm predict`: the most probable classes of arrays, tables and images."""

import csv
import io
import json as json_text
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from skdidicm.cli import runs
from skdidicm.cli.console import print_json, print_table, results, visible
from skdidicm.cli.options import BackendOptions, SamplerOptions, expand, given
from skdidicm.saving import run_folder


class Format(StrEnum):
    """How predictions are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    jsonl = "jsonl"


@expand
def predict(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Run folder, or a model file.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES",
            help="Arrays (.npy), tables (.csv, .tsv) or images; - for standard input.",
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to print for every row.")] = 5,
    output_format: Annotated[
        Format, typer.Option("--format", help="Form of the output.")
    ] = Format.table,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    pixel_max: Annotated[
        float | None,
        typer.Option(
            min=0, help="What white was in training.", show_default="that of the run, or 255"
        ),
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Whether tables have a line of column names.",
            show_default="yes if it has no numbers",
        ),
    ] = None,
    sampler: SamplerOptions,
    backend: BackendOptions,
) -> None:
    """Print the most probable classes and their probabilities for every row of the files."""
    from skdidicm.predict.inputs import RowFormat, read_rows

    record = run_folder.read_record(run_folder.find_model(model)) or run_folder.RunRecord()
    classifier = runs.load_model(model, given(backend), given(sampler))
    names = record.names_of(classifier.classes_.tolist())
    white = pixel_max or record.pixel_max or 255
    row_format = RowFormat(
        shape=classifier.input_shape_,
        pixel_max=white,
        crop=record.crop,
        columns=tuple(getattr(classifier, "feature_names_in_", ())),
        header=header,
    )
    predictions: list[dict[str, Any]] = []
    for path in files:
        rows = read_rows(path, row_format)
        for i, p in enumerate(_proba(classifier, rows)):
            predictions.append({"file": str(path), "row": i, "classes": leading(p, names, top)})
    _print(predictions, Format.json if json else output_format, str(model))


def _proba(classifier: Any, rows: Any) -> Any:
    """Return probabilities (n, k); that the rows are no frame is no news, their names were read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return classifier.predict_proba(rows)


def leading(p: Any, names: list[str], top: int) -> list[dict[str, Any]]:
    """Return the names and probabilities of the likeliest classes of one row.

    Examples
    --------
    >>> import numpy as np
    >>> leading(np.array([0.25, 0.75]), ["cat", "dog"], 1)
    [{'class': 'dog', 'probability': 0.75}]
    """
    order = (-p).argsort(kind="stable")[:top]
    return [{"class": names[column], "probability": float(p[column])} for column in order]


def _print(predictions: list[dict[str, Any]], output_format: Format, model: str) -> None:
    if output_format is Format.json:
        print_json({"model": model, "predictions": predictions})
    elif output_format is Format.jsonl:
        with results():
            typer.echo("\n".join(map(json_text.dumps, predictions)))
    elif output_format is Format.csv:
        _print_csv(predictions)
    else:
        _print_table(predictions)


def _print_csv(predictions: list[dict[str, Any]]) -> None:
    from skdidicm.tables import safe_cell

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "row", "rank", "class", "probability"))
    for row in predictions:
        for rank, found in enumerate(row["classes"], start=1):
            file, name = safe_cell(row["file"]), safe_cell(found["class"])
            writer.writerow((file, row["row"], rank, name, f"{found['probability']:.6g}"))
    lines = text.getvalue()
    with results():
        if sys.stdout.isatty():
            lines = "\n".join(map(visible, lines.split("\n")))
        sys.stdout.write(lines)  # echo would remove escapes from names


def _print_table(predictions: list[dict[str, Any]]) -> None:
    lines = []
    for row in predictions:
        best, *others = (
            (found["class"], f"{100 * found['probability']:.1f}%") for found in row["classes"]
        )
        then = ", ".join(" ".join(other) for other in others)
        lines.append([row["file"], str(row["row"]), *best, then])
    print_table(None, ("File", "Row", "Class", "Probability", "Then"), lines)
