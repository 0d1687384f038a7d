"""`skdidicm train`: train on a data set, test, and write a run folder."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skdidicm.cli import imagenet, runs
from skdidicm.cli.console import print_json, print_scores, say
from skdidicm.cli.options import RunOptions, TrainOptions, expand, given
from skdidicm.cli.pictures import save_pictures

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.datasets import Split

_PAUSE = 2.0  # seconds between two lines of progress

app = typer.Typer(no_args_is_help=True, help="Train a classifier, test it and write a run folder.")

app.command("imagenet")(imagenet.train)


@app.command()
@expand
def digits(*, settings: TrainOptions, run: RunOptions) -> None:
    """Train on scikit-learn's 1797 handwritten digits; a fifth of them are test data.

    A first run is to be short: there is no trial of how long to train, unless you ask for it.
    """
    settings = replace(settings, choose_epochs=bool(settings.choose_epochs))
    train({"name": "digits", "seed": run.seed}, settings, run)


@app.command()
@expand
def fashion_mnist(
    *,
    data: Annotated[
        Path, typer.Option(help="Folder with train-images-idx3-ubyte[.gz] and the other three.")
    ],
    n_train: Annotated[
        int | None,
        typer.Option(min=1, help="Training images, drawn at random.", show_default="all"),
    ] = None,
    noise: Annotated[
        float, typer.Option(min=0, help="Noise on pixels, in standard deviations of the pixels.")
    ] = 0.0,
    settings: TrainOptions,
    run: RunOptions,
) -> None:
    """Train on Fashion-MNIST or a part of it, as it is or with pixel noise."""
    dataset = {
        "name": "fashion-mnist",
        "folder": str(data.resolve()),
        "n_train": n_train,
        "noise": noise,
        "seed": run.seed,
    }
    train(dataset, settings, run)


def train(dataset: dict[str, Any], settings: TrainOptions, run: RunOptions) -> None:
    """Train on a data set as `runs.load_split` knows it, and write the run folder."""
    folder = run.output or runs.default_folder(dataset["name"])
    with runs.new_folder(folder, overwrite=run.overwrite):
        data = runs.load_split(dataset)
        check_classes(data)
        say(f"Training on {len(data.X_train)} images of {dataset['name']}.")
        classifier, training_seconds = fit(given(settings), run.seed, data, folder)
        result, y_proba = score(classifier, data)
        result = {**result, "training_seconds": training_seconds}
        details = describe(dataset, data, given(settings)) | {"metrics": result}
        runs.write_run(folder, classifier, details)
        save_pictures(folder, classifier, data, y_proba)
    if run.json:
        print_json({"output": str(folder), **details})
    else:
        print_scores(f"{dataset['name']}, {len(data.X_test)} test images", result)
    say(f"Written to {folder}")


def check_classes(data: "Split") -> None:
    """Raise ValueError if a class has test images but no training images."""
    missing = sorted(set(data.y_test.tolist()) - set(data.y_train.tolist()))
    if missing:
        names = ", ".join(data.class_names[label] for label in missing)
        raise ValueError(
            f"the {len(data.X_train)} training images show no {names}; raise --n-train, or draw "
            "others with --seed."
        )


def fit(
    settings: dict[str, Any], seed: int, data: "Split", folder: Path
) -> tuple["DiDiClassifier", float]:
    """Return a trained classifier and the seconds that it took; its history goes into a folder."""
    from skdidicm import DiDiClassifier
    from skdidicm.fit.defaults import resolve_trial

    bar = sys.stderr.isatty()
    lines, history = ProgressLines(), runs.HistoryFile(folder)
    classifier = DiDiClassifier(
        **settings,
        random_state=seed,
        verbose=int(bar),
        callbacks=[history] if bar else [history, lines],
    )
    c, n = classifier, len(data.X_train)
    early = c.early_stopping
    if not bar and resolve_trial(c.choose_epochs, c.max_epochs, n, early_stopping=early):
        say("First a trial on parts of them: how long to train.")
    start = time.perf_counter()
    classifier.fit(data.X_train, data.y_train)
    seconds = time.perf_counter() - start
    lines.finish()
    return classifier.set_params(callbacks=None, verbose=0), seconds


def score(classifier: "DiDiClassifier", data: "Split") -> tuple[dict[str, Any], Any]:
    """Return the test figures and the test probabilities (n, k)."""
    from skdidicm.metrics import score_probabilities

    start = time.perf_counter()
    y_proba = classifier.predict_proba(data.X_test)
    seconds = time.perf_counter() - start
    scores = score_probabilities(data.y_test, y_proba, classifier.classes_)
    return {**scores, "prediction_seconds": seconds}, y_proba


def describe(dataset: dict[str, Any], data: "Split", settings: dict[str, Any]) -> dict[str, Any]:
    """Return what evaluate and predict need to know about a run, and what a reader wants to."""
    from importlib.metadata import version

    return {
        "skdidicm": version("skdidicm"),
        "dataset": dataset,
        "settings": settings,
        "class_names": list(data.class_names),
        "pixel_max": 255 if data.X_train.dtype == "uint8" else 1,
        "n_train": len(data.X_train),
        "n_test": len(data.X_test),
    }


class ProgressLines:
    """A callback that writes a line to stderr now and then: progress without a terminal."""

    def __init__(self) -> None:
        self._last_time = float("-inf")
        self._waiting: dict[str, float] | None = None
        self._n_epochs = 0

    def __call__(self, classifier: "DiDiClassifier", row: dict[str, float]) -> None:
        """Write the row if the last line is long enough ago, or keep it for the next."""
        self._waiting, self._n_epochs = row, classifier.max_epochs_
        if time.monotonic() - self._last_time >= _PAUSE:
            self.finish()

    def finish(self) -> None:
        """Write the last row if it has not been written."""
        if self._waiting is not None:
            figures = [f"loss {self._waiting['loss']:.3f}"]
            if "val_nll" in self._waiting:
                figures.append(f"validation NLL {self._waiting['val_nll']:.3f}")
                figures.append(f"accuracy {self._waiting['val_accuracy']:.3f}")
            epoch = int(self._waiting["epoch"])
            say(f"epoch {epoch} of {self._n_epochs}: {', '.join(figures)}")
            self._waiting, self._last_time = None, time.monotonic()
