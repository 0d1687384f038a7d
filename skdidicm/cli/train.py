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
from skdidicm.saving import run_folder
from skdidicm.saving.run_folder import DataSource, HistoryFile, RunRecord

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

    To keep a first run short, no trial chooses the number of epochs unless you pass
    --choose-epochs or --effort.
    """
    if settings.effort is None:
        settings = replace(settings, choose_epochs=bool(settings.choose_epochs))
    train(DataSource(name="digits", seed=run.seed), settings, run)


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
    folder = str(data.resolve())
    source = DataSource(
        name="fashion-mnist", folder=folder, n_train=n_train, noise=noise, seed=run.seed
    )
    train(source, settings, run)


def train(source: DataSource, settings: TrainOptions, run: RunOptions) -> None:
    """Train on a data set, test, and write the run folder."""
    folder = run.output or run_folder.default_folder(source.name)
    with run_folder.new_run(folder, overwrite=run.overwrite):
        data = run_folder.load_data(source)
        check_classes(data)
        say(f"Training on {len(data.X_train)} images of {source.name}.")
        history = HistoryFile(folder)
        classifier, training_seconds = fit(given(settings), run.seed, data, history)
        result, y_proba = runs.score(classifier, data)
        result = {**result, "training_seconds": training_seconds}
        record = record_of(source, data, given(settings), result)
        run_folder.write_run(folder, classifier, record, history)
        _draw(folder, classifier, data, y_proba)
    if run.json:
        print_json({"output": str(folder), **record.plain()})
    else:
        print_scores(f"{source.name}, {len(data.X_test)} test images", result)
    say(f"Written to {folder}")


def _draw(folder: Path, classifier: "DiDiClassifier", data: "Split", y_proba: Any) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        say('No pictures without matplotlib; install it with: pip install "skdidicm[plot]"')
        return
    from skdidicm.report.pictures import save_pictures

    save_pictures(folder, classifier, data, y_proba)


def check_classes(data: "Split") -> None:
    """Raise ValueError if a class has test images but no training images."""
    missing = sorted(set(data.y_test.tolist()) - set(data.y_train.tolist()))
    if missing:
        names = ", ".join(data.class_names[label] for label in missing)
        raise ValueError(
            f"the {len(data.X_train)} training images include no {names}; raise --n-train, or draw "
            "others with --seed."
        )


def fit(
    settings: dict[str, Any], seed: int, data: "Split", history: HistoryFile
) -> tuple["DiDiClassifier", float]:
    """Return a trained classifier and the seconds that its training took."""
    from skdidicm import DiDiClassifier
    from skdidicm.fit.defaults import resolve_trial

    bar = sys.stderr.isatty()
    lines = ProgressLines()
    classifier = DiDiClassifier(
        **settings,
        random_state=seed,
        verbose=int(bar),
        callbacks=[history] if bar else [history, lines],
    )
    c, n = classifier, len(data.X_train)
    early, effort = c.early_stopping, c.effort
    tried = resolve_trial(c.choose_epochs, c.max_epochs, n, early_stopping=early, effort=effort)
    if not bar and tried:
        say("First a trial on parts of them chooses the number of epochs.")
    start = time.perf_counter()
    classifier.fit(data.X_train, data.y_train)
    seconds = time.perf_counter() - start
    lines.finish()
    return classifier.set_params(callbacks=None, verbose=0), seconds


def record_of(
    source: DataSource, data: "Split", settings: dict[str, Any], metrics: dict[str, Any]
) -> RunRecord:
    """Return the record of a finished run."""
    return RunRecord(
        dataset=source,
        settings=settings,
        class_names=list(data.class_names),
        pixel_max=255 if data.X_train.dtype == "uint8" else 1,
        n_train=len(data.X_train),
        n_test=len(data.X_test),
        metrics=metrics,
    )


class ProgressLines:
    """A callback that writes progress to stderr every few seconds, for use without a terminal."""

    def __init__(self) -> None:
        self._last_time = float("-inf")
        self._waiting: dict[str, float] | None = None
        self._n_epochs = 0

    def __call__(self, classifier: "DiDiClassifier", row: dict[str, float]) -> None:
        """Write the row if the last line was written long enough ago; else keep it."""
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
