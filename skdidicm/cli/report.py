"""`skdidicm report`: one HTML page about a run."""

import json as json_text
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skdidicm.cli import runs
from skdidicm.cli.console import print_json, say

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.report import Test

_MOST_PICTURES = 2000  # of a folder that are predicted again


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a model file.")],
    output: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="report.html in the run")
    ] = None,
    n_images: Annotated[
        int, typer.Option(min=0, help="How many of the least sure test rows to show.")
    ] = 24,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data.", show_default="where the run found it"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the file's name.")
    ] = False,
) -> None:
    """Write one HTML file about a run: its figures, curves, errors and least sure answers."""
    from skdidicm.report import render

    facts = collect(run, n_images, data)
    folder = run if run.is_dir() else run.parent
    file = folder / "report.html" if output is None else output
    file.write_text(render(facts), encoding="utf-8")
    if json:
        computed = None if facts.test is None else {"n": facts.test.n, **facts.test.scores}
        content = {"output": str(file), "metrics": dict(facts.metrics), "computed": computed}
        print_json({**content, "notes": list(facts.notes)})
    else:
        typer.echo(str(file))


def collect(run: Path, n_images: int, data: Path | None) -> Any:
    """Return the facts about a run, as far as it holds them and its data are there."""
    from skdidicm.report import Facts

    if not _has_model(run):
        return Facts(
            f"Unfinished run {run.name}",
            history=_read_history(run),
            notes=["The run has written no model yet; this is its history so far."],
        )
    details, classifier = runs.read_details(run), runs.load_model(run, {}, {})
    names = runs.class_names(classifier, details)
    test, note = _test(classifier, details, names, n_images, data)
    dataset = details.get("dataset") or {}
    given = {**_plain(dataset), **_plain(details.get("settings") or {})}
    found: Any = test.scores if test else {}
    return Facts(
        title=f"{dataset.get('name', 'Model')}: {run.resolve().name}",
        class_names=names,
        about=classifier._facts(),
        settings=given,
        metrics=details.get("metrics") or found,
        history=classifier.history_,
        test=test,
        notes=[note],
    )


def _has_model(run: Path) -> bool:
    """Return whether there is a model; raise as other commands do if there is nothing at all."""
    if run.is_dir() and not (run / runs.MODEL).is_file() and (run / runs.HISTORY).is_file():
        return False
    return runs.find_model(run).is_file()


def _read_history(run: Path) -> list[dict[str, float]]:
    file = run / runs.HISTORY
    try:
        return [json_text.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); train the model again.") from error


def _plain(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in settings.items() if value not in (None, "")}


def _test(
    classifier: "DiDiClassifier",
    details: Mapping[str, Any],
    names: list[str],
    n_images: int,
    data: Path | None,
) -> tuple["Test | None", str]:
    """Return what predictions on the test data say, and a sentence about where it comes from."""
    from skdidicm.report import gather

    dataset = dict(details.get("dataset") or {})
    if not dataset:
        return None, "The data of the model are not known, so nothing was predicted again."
    if data is not None:
        dataset["folder"] = str(data.resolve())
    try:
        X, y, n_all = _rows(dataset, classifier, details)
    except FileNotFoundError as error:
        say(f"Without the test data: {error}")
        return None, f"The test data were not found, so nothing was predicted again: {error}"
    say(f"Predicting {len(X)} test rows.")
    test = gather(X, y, classifier.predict_proba(X), classifier.predict_path, names, n_images)
    part = "all" if len(X) == n_all else f"{len(X)} of"
    sentence = f"Diagrams and images are of {part} {n_all} test rows, predicted again: "
    return test, f"{sentence}accuracy {test.scores['accuracy']:.1%}."


def _rows(
    dataset: Mapping[str, Any], classifier: "DiDiClassifier", details: Mapping[str, Any]
) -> tuple[Any, Any, int]:
    """Return test rows, the column of each one's class, and how many rows there are in all."""
    if dataset.get("name") == "imagenet":
        return _pictures(dataset, classifier, details)
    split = runs.load_split(dataset)
    return split.X_test, classifier.classes_.searchsorted(split.y_test), len(split.y_test)


def _pictures(
    dataset: Mapping[str, Any], classifier: "DiDiClassifier", details: Mapping[str, Any]
) -> tuple[Any, Any, int]:
    """Return pictures of the validation folder, evenly spread if they are too many."""
    import numpy as np

    from skdidicm.cli.reading import read_rows
    from skdidicm.imagenet.folder import find_split, scan

    if dataset["folder"] == "synthetic":
        raise FileNotFoundError("the run was trained on synthetic pictures, which have no folder.")
    found = scan(find_split(Path(dataset["folder"]), "val"), details["class_names"])
    n = len(found.files)
    kept = np.unique(np.linspace(0, n - 1, min(n, _MOST_PICTURES)).round().astype(int))
    shape, crop = classifier.input_shape_, details.get("crop")
    rows, labels = [], []
    for i in kept:
        with suppress(OSError, ValueError):  # training leaves out damaged pictures, too
            rows.append(read_rows(Path(found.files[i]), shape, 255, crop)[0])
            labels.append(found.labels[i])
    if not rows:
        raise FileNotFoundError(f"none of the pictures below {dataset['folder']} can be read.")
    return np.stack(rows), np.array(labels), n
