"""Run folders: what a training run leaves behind, and how to find it again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.datasets import Split

MODEL = "model.skd"
METRICS = "metrics.json"
HISTORY = "history.jsonl"


def default_folder(dataset: str) -> Path:
    """Return a folder of the working directory that is named for the data and the time."""
    return Path("runs") / f"{dataset}-{datetime.now():%Y%m%d-%H%M%S}"


@contextmanager
def new_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Make a folder, and take it back if nothing was written before an error.

    Raises
    ------
    FileExistsError
        If the folder holds files already, unless `overwrite` is set.
    """
    existed = folder.exists()
    if existed and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose a folder with --output.")
    if existed and not overwrite and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} holds files already; choose another folder with --output, or pass "
            "--overwrite to replace the run in it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # a folder that holds files stays
            if not existed:
                folder.rmdir()
        raise


class HistoryFile:
    """A callback that writes each epoch's row as it happens, so that Ctrl-C keeps the history."""

    def __init__(self, folder: Path) -> None:
        self._path, self._mode = folder / HISTORY, "w"

    def __call__(self, _: "DiDiClassifier", row: Mapping[str, float]) -> None:
        """Add a row to the file; the first one replaces that of an earlier run."""
        with self._path.open(self._mode, encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._mode = "a"


def write_run(folder: Path, classifier: "DiDiClassifier", details: Mapping[str, Any]) -> None:
    """Write the model and its figures, and remove the pictures of an earlier run."""
    for picture in folder.glob("*.png"):
        if picture.name in ("posterior_path.png", "learning_curve.png"):
            picture.unlink()
    classifier.save(folder / MODEL)
    write_details(folder, details)


def write_details(folder: Path, details: Mapping[str, Any]) -> None:
    """Write metrics.json: the old file or the new one, never half."""
    partial = folder / f".{METRICS}.partial"
    partial.write_text(json.dumps(details, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / METRICS)


def find_model(path: Path) -> Path:
    """Return the model file of a run folder, or the file itself.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; expected a run folder or a model file of skdidicm."
        )
    if not (path / MODEL).is_file():
        raise FileNotFoundError(
            f"{path} holds no {MODEL}; expected a folder that skdidicm train has written."
        )
    return path / MODEL


def load_model(path: Path, where: Mapping[str, Any], sampler: Mapping[str, Any]) -> Any:
    """Return the classifier of a run folder or model file, with other settings of the sampler."""
    from skdidicm import DiDiClassifier

    classifier = DiDiClassifier.load(find_model(path), **where)
    return classifier.set_params(verbose=0, **sampler)


def read_details(path: Path) -> dict[str, Any]:
    """Return what metrics.json beside a model says, or nothing if there is no such file."""
    file = find_model(path).with_name(METRICS)
    if not file.is_file():
        return {}
    try:
        details = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); train the model again.") from error
    return details if isinstance(details, dict) else {}


def load_split(dataset: Mapping[str, Any]) -> "Split":
    """Return the data that the `dataset` entry of metrics.json describes."""
    from skdidicm.datasets import load_digits_split, load_fashion_mnist

    settings = {name: value for name, value in dataset.items() if name != "name"}
    if dataset.get("name") == "digits":
        return load_digits_split(**settings)
    if dataset.get("name") == "fashion-mnist":
        return load_fashion_mnist(**settings)
    raise ValueError(
        f"the data set {dataset.get('name')!r} is not known; expected digits or fashion-mnist."
    )


def class_names(classifier: "DiDiClassifier", details: Mapping[str, Any]) -> list[str]:
    """Return the names of a model's classes: those of its data, or the labels themselves."""
    labels = [str(label) for label in classifier.classes_.tolist()]
    names: Sequence[str] = details.get("class_names", ())
    if not names or not all(label.isdecimal() and int(label) < len(names) for label in labels):
        return labels
    return [str(names[int(label)]) for label in labels]
