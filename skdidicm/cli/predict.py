"""`skdidicm predict`: the most probable classes of arrays, tables and images."""

import csv
import hashlib
import io
import json as json_text
import os
import sys
import time
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skdidicm.cli import runs
from skdidicm.cli.console import print_json, print_table, results, say, visible
from skdidicm.cli.options import BackendOptions, SamplerOptions, expand, given
from skdidicm.saving import run_folder

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.saving.predictions import FolderJob

_PAUSE = 5.0  # seconds between two lines of progress


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
        list[Path] | None,
        typer.Argument(
            metavar="FILES",
            help="Arrays (.npy), tables (.csv, .tsv, .parquet) or images; - for standard input.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="In place of FILES, a folder of any number of pictures; needs --output. What was "
            "interrupted goes on, and under torchrun every process takes its share."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File to write with --data: .csv or .parquet.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that --output names.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that decode with --data.", show_default="all cores"),
    ] = None,
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
    coverage: Annotated[
        float | None,
        typer.Option("--set", help="Also print sets that hold the class this often, such as 0.9."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Mark rows of a lower highest probability as refused."),
    ] = None,
    members: Annotated[
        bool, typer.Option("--members", help="Also print the probabilities by each network.")
    ] = False,
    familiarity: Annotated[
        bool, typer.Option("--familiarity", help="Also print how like the training rows a row is.")
    ] = False,
    sampler: SamplerOptions,
    backend: BackendOptions,
) -> None:
    """Print the most probable classes and their probabilities for every row of the files."""
    from skdidicm.predict.inputs import RowFormat, read_rows
    from skdidicm.saving.predictions import FolderJob, Share, check_output

    if (data is None) != (output is None) or (data is None) == (not files):
        raise typer.BadParameter(
            "pass FILES, or a folder with --data and a file to write with --output."
        )
    printed = json or output_format is not Format.table
    answers = coverage is not None or threshold is not None or members or familiarity
    if data is not None and (answers or printed):
        raise typer.BadParameter(
            "--set, --threshold, --members, --familiarity, --format and --json are for FILES, not "
            "--data."
        )
    begun, share = time.time(), Share.of_torchrun()
    if share.world > 1 and backend.device is None:
        _see_one_device()
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
        categories=_categories(classifier, record),
    )
    if data is not None and output is not None:
        late = share.rank > 0  # the first process may have written it already
        check_output(output, overwrite=overwrite or late)
        if len(classifier.input_shape_) == 1:
            raise ValueError(
                f"{model} takes rows of a table, not pictures; pass FILES, not --data."
            )
        job = FolderJob(
            root=data,
            output=output,
            model=_digest(run_folder.find_model(model), given(sampler)),
            names=names,
            top=top,
            row_format=row_format,
            workers=workers or os.cpu_count() or 1,
            share=share,
            begun=begun if overwrite else 0.0,
        )
        _predict_folder(job, classifier)
        return
    predictions: list[dict[str, Any]] = []
    for path in files or ():
        rows = read_rows(path, row_format)
        with warnings.catch_warnings():  # that the rows are no frame is known: names were read
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            proba = classifier.predict_proba(rows)
            sets = None if coverage is None else classifier.predict_set(rows, coverage)
            by_member = classifier.predict_members(rows) if members else None
            familiar = classifier.familiarity(rows) if familiarity else None
        for i, p in enumerate(proba):
            found: dict[str, Any] = {"classes": leading(p, names, top)}
            if sets is not None:
                found["set"] = [name for name, inside in zip(names, sets[i], strict=True) if inside]
            if threshold is not None:
                found["refused"] = bool(p.max() < threshold)
            if familiar is not None:
                found["familiarity"] = float(familiar[i])
            if by_member is not None:
                found["members"] = [leading(p, names, top) for p in by_member[i]]
            predictions.append({"file": str(path), "row": i, **found})
    _print(predictions, Format.json if json else output_format, str(model))


def _predict_folder(job: "FolderJob", classifier: "DiDiClassifier") -> None:
    """Predict the pictures of a folder, with a line of progress every few seconds."""
    from skdidicm.saving.predictions import predict_folder

    seen: list[tuple[float, int]] = []  # the first part and the last line: time and pictures

    def progress(done: int, n: int) -> None:
        now = time.monotonic()
        if not seen:  # neither an earlier process nor the first part tells the rate
            seen.extend([(now, done), (float("-inf"), done)])
        elif now - seen[1][0] >= _PAUSE or done == n:
            seen[1] = now, done
            rate = (done - seen[0][1]) / (now - seen[0][0])
            say(f"{done:,} of {n:,} pictures, {rate:,.0f} a second")

    if predict_folder(job, classifier.predict_proba, progress):
        say(f"Written to {job.output}")
    else:
        say(f"This process's share is done; the others' is not yet in {job.parts}.")


def _digest(file: Path, settings: dict[str, Any]) -> str:
    """Return what tells a model and the settings of its sampler from others."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(repr(sorted(settings.items())).encode())
    return digest.hexdigest()


def _see_one_device() -> None:
    """Leave this process of several one GPU, before a framework is imported."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    listed = devices.split(",") if devices else []
    os.environ["CUDA_VISIBLE_DEVICES"] = listed[local % len(listed)] if listed else str(local)


def _categories(classifier: Any, record: run_folder.RunRecord) -> list[str] | None:
    """Return the columns that are categories, None for a model that takes numbers only."""
    columns, names = classifier.columns_, list(getattr(classifier, "feature_names_in_", ()))
    is_table = record.dataset is not None and record.dataset.file is not None
    if columns is None or not names or (columns.plain and not is_table):
        return None
    return [names[i] for i in columns.categories]


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
    more = _more(predictions)
    writer.writerow(("file", "row", "rank", "class", "probability", *more))
    for row in predictions:
        others = [safe_cell(_cell(name, row[name])) for name in more]
        for rank, found in enumerate(row["classes"], start=1):
            file, name = safe_cell(row["file"]), safe_cell(found["class"])
            p = f"{found['probability']:.6g}"
            writer.writerow((file, row["row"], rank, name, p, *others))
    lines = text.getvalue()
    with results():
        if sys.stdout.isatty():
            lines = "\n".join(map(visible, lines.split("\n")))
        sys.stdout.write(lines)  # echo would remove escapes from names


def _more(predictions: list[dict[str, Any]]) -> list[str]:
    """Return the names of what was asked for besides the classes."""
    first = predictions[0] if predictions else {}
    return [name for name in ("set", "refused", "familiarity", "members") if name in first]


def _cell(name: str, value: Any) -> str:
    """Return one of these answers as text; of members, the class that each finds likeliest."""
    if name == "set":
        return "; ".join(value)
    if name == "refused":
        return "yes" if value else "no"
    if name == "familiarity":
        return f"{value:.3g}"
    likeliest = [classes[0] for classes in value]
    return "; ".join(f"{best['class']} {100 * best['probability']:.1f}%" for best in likeliest)


def _print_table(predictions: list[dict[str, Any]]) -> None:
    lines, more = [], _more(predictions)
    for row in predictions:
        best, *others = (
            (found["class"], f"{100 * found['probability']:.1f}%") for found in row["classes"]
        )
        then = ", ".join(" ".join(other) for other in others)
        lines.append([row["file"], str(row["row"]), *best, then])
        lines[-1] += [_cell(name, row[name]) for name in more]
    titles = ("File", "Row", "Class", "Probability", "Then", *(name.title() for name in more))
    print_table(None, titles, lines)
