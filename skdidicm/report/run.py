"""What a report says about a run folder: its record, history, and predictions on its test data."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skdidicm.plotting.canvas import spread
from skdidicm.report.facts import Facts, Test, gather
from skdidicm.saving import run_folder
from skdidicm.saving.run_folder import DataSource, RunRecord

_MOST_PICTURES = 2000  # of a folder that are predicted again


class Classifier(Protocol):
    """The part of a fitted `DiDiClassifier` that a report needs."""

    classes_: NDArray[Any]
    input_shape_: tuple[int, ...]
    history_: list[dict[str, float]]

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return class probabilities (n, k)."""
        ...

    def predict_path(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return class probabilities at every step (n, steps + 1, k)."""
        ...


def is_unfinished(run: Path) -> bool:
    """Return whether a run folder holds a history but no model yet."""
    has_model = (run / run_folder.MODEL).is_file()
    return run.is_dir() and not has_model and (run / run_folder.HISTORY).is_file()


def facts_of_unfinished(run: Path) -> Facts:
    """Return the facts about a run that has written no model yet."""
    return Facts(
        f"Unfinished run {run.name}",
        history=run_folder.read_history(run),
        notes=["The run has written no model yet; this is its history so far."],
    )


def facts_of_run(
    run: Path,
    classifier: Classifier,
    about: Mapping[str, str],
    *,
    n_images: int,
    data: Path | None = None,
    log: Callable[[str], None],
) -> Facts:
    """Return the facts about a finished run.

    Parameters
    ----------
    run : Path
        Run folder, or a model file.
    classifier : Classifier
        The model of the run.
    about : mapping of str to str
        What a notebook shows of the classifier.
    n_images : int
        How many of the least confident test rows to show.
    data : Path, optional
        Where the data of the run are now, if they have moved.
    log : callable
        Takes a line of progress.
    """
    record = run_folder.read_record(run) or RunRecord()
    source, names = record.dataset, record.names_of(classifier.classes_.tolist())
    history = _history(run, classifier)
    test, note = _test(classifier, record, names, n_images, data, log)
    settings = {} if source is None else source.plain()
    return Facts(
        title=f"{'Model' if source is None else source.title}: {run.resolve().name}",
        class_names=names,
        about=about,
        settings=_shown(settings) | _shown(record.settings or {}),
        metrics=record.metrics or (dict(test.scores) if test else {}),
        history=history,
        test=test,
        notes=[note],
    )


def _history(run: Path, classifier: Classifier) -> list[dict[str, float]]:
    try:
        return run_folder.check_history(classifier.history_)
    except ValueError as error:
        file = run_folder.find_model(run)
        raise run_folder.RunFolderError(f"{file} is damaged ({error}); train it again.") from error


def _shown(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in settings.items() if value not in (None, "")}


def _test(
    classifier: Classifier,
    record: RunRecord,
    names: list[str],
    n_images: int,
    data: Path | None,
    log: Callable[[str], None],
) -> tuple[Test | None, str]:
    """Return the facts about predictions on the test data, and a sentence about these data."""
    if record.dataset is None:
        return None, "The data of the model are not known, so nothing was predicted again."
    source = record.dataset
    if data is not None:
        source = source.moved(data)
    try:
        X, y, n_all = _rows(source, classifier, record, log)
    except FileNotFoundError as error:
        log(f"Without the test data: {error}")
        return None, f"The test data were not found, so nothing was predicted again: {error}"
    log(f"Predicting {len(X)} test rows.")
    test = gather(X, y, classifier.predict_proba(X), classifier.predict_path, names, n_images)
    part = "all" if len(X) == n_all else f"{len(X)} of"
    sentence = f"Diagrams and images are of {part} {n_all} test rows, predicted again: "
    return test, f"{sentence}accuracy {test.scores['accuracy']:.1%}."


def _rows(
    source: DataSource, classifier: Classifier, record: RunRecord, log: Callable[[str], None]
) -> tuple[Any, NDArray[Any], int]:
    """Return test rows, the column of each one's class, and how many rows there are in all."""
    if source.name == "imagenet":
        return _pictures(source, classifier, record)
    split = run_folder.load_data(source)
    changed = run_folder.check_unchanged(record, split)
    if changed is not None:
        log(changed)
    return split.X_test, classifier.classes_.searchsorted(split.y_test), len(split.y_test)


def _pictures(
    source: DataSource, classifier: Classifier, record: RunRecord
) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Return images of the validation folder, evenly spread if there are too many."""
    from skdidicm.folders import find_split, scan
    from skdidicm.predict.inputs import RowFormat, read_rows

    if source.folder in (None, "synthetic"):
        raise FileNotFoundError("the run was trained on synthetic images, which have no folder.")
    found = scan(find_split(Path(str(source.folder)), "val"), record.class_names)
    n = len(found.files)
    model = RowFormat(shape=classifier.input_shape_, crop=record.crop)
    rows, labels = [], []
    for i in spread(n, _MOST_PICTURES):
        with suppress(OSError, ValueError):  # training leaves out damaged images, too
            rows.append(read_rows(Path(found.files[i]), model))
            labels.append(found.labels[i])
    if not rows:
        raise FileNotFoundError(f"none of the images below {source.folder} can be read.")
    return np.concatenate(rows), np.array(labels), n
