"""`skdidicm train`: train on a data set, test, and write a run folder."""

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from skdidicm.cli import imagenet, runs
from skdidicm.cli.console import print_json, print_scores, print_table, say
from skdidicm.cli.options import FolderOptions, RunOptions, TrainOptions, expand, given
from skdidicm.saving import run_folder
from skdidicm.saving.run_folder import DataSource, HistoryFile, RunRecord

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.datasets import Split

_PAUSE = 2.0  # seconds between two lines of progress

_BACKBONE = "resnet18.a1_in1k"  # small, so that it serves without a GPU

_TABLES = (".csv", ".tsv", ".parquet")


class TrainGroup(TyperGroup):
    """The data sets; a table in their place is a wrong usage that says what is right."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names."""
        if args[0] not in self.commands and Path(args[0]).suffix.lower() in _TABLES:
            ctx.fail(
                f"{args[0]} is a table; train on it with: skdidicm train table {args[0]} --target "
                "COLUMN"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=TrainGroup,
    no_args_is_help=True,
    help="Train a classifier, test it and write a run folder.",
)

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
    train(DataSource(name="digits", seed=run.seed), given(settings), run)


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
    train(source, given(settings), run)


@app.command()
@expand
def table(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .tsv or .parquet file.")],
    target: Annotated[str, typer.Option(help="Column with the classes.")],
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Column to leave out, such as a number of the row; may be repeated."),
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(help="Column of numbers that name categories; may be repeated."),
    ] = None,
    test_size: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Share of the rows to test on.")
    ] = 0.2,
    settings: TrainOptions,
    run: RunOptions,
) -> None:
    """Train on a table of numbers, text and gaps with column names in its first line.

    Columns of text are categories. The output says what every column is taken for, and compares the
    test figures with those of the class prior: the shares of the classes among the training rows.
    """
    source = DataSource(
        name="table",
        file=str(file.resolve()),
        target=target,
        dropped=drop or None,
        categories=category or None,
        test_size=test_size,
        seed=run.seed,
    )
    train(source, given(settings), run)


@app.command()
@expand
def folder(
    *,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Holds a folder of pictures for each class, or train and val with such folders.",
        ),
    ],
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Network of timm, such as convnextv2_nano.fcmae_ft_in1k, or keras/NAME.",
            show_default=f"{_BACKBONE}, if pretrained",
            rich_help_panel="Network",
        ),
    ] = None,
    test_size: Annotated[
        float,
        typer.Option(min=0.01, max=0.99, help="Share of every class to test on, without val."),
    ] = 0.2,
    settings: FolderOptions,
    run: RunOptions,
) -> None:
    """Train on your own pictures, of any sizes and numbers.

    A pretrained network stays as it is, and what it finds in the pictures is learnt from.
    --trunk-learning-rate 0.1 fine-tunes it instead, which takes many times as long and can be
    worth it with 1,000 pictures and more.
    """
    from skdidicm.networks import KERAS, TIMM

    if backbone is not None and settings.network is not None:
        raise typer.BadParameter("pass one of --backbone and --network.")
    if settings.weights is not None and backbone is None and settings.network is None:
        raise typer.BadParameter("--weights are those of a network; name it with --backbone.")
    parameters = given(settings)
    weights = parameters.pop("weights", None)
    pretrained = parameters.get("pretrained", False) if weights is None else str(weights.resolve())
    if backbone is not None or (pretrained and settings.network is None):
        name = backbone or _BACKBONE
        parameters["network"] = name if name.startswith((KERAS, TIMM)) else TIMM + name
    if pretrained:
        parameters["pretrained"] = pretrained
    elif backbone is not None:
        say(f"{backbone} starts from random weights; for few pictures, add --pretrained.")
    source = DataSource(
        name="folder", folder=str(path.resolve()), test_size=test_size, seed=run.seed
    )
    train(source, parameters, run)


def train(source: DataSource, parameters: dict[str, Any], run: RunOptions) -> None:
    """Train a classifier with some parameters on a data set, test, and write the run folder."""
    is_table = source.file is not None
    output = run.output or run_folder.default_folder(Path(source.title).stem)
    if source.name == "folder" and source.folder is not None:
        check_outside(output, Path(source.folder))
    with run_folder.new_run(output, overwrite=run.overwrite):
        data = run_folder.load_data(source)
        if is_table:
            columns = kinds_of_columns(data.X_train)
            if not run.json:
                print_table(source.title, ("Column", "Taken as"), columns.items())
        else:
            check_classes(data)
        if source.name == "folder":
            check_readable(data.X_test)
        noun = "rows" if is_table else "images"
        say(f"Training on {len(data.X_train)} {noun} of {source.title}.")
        history = HistoryFile(output)
        classifier, training_seconds = fit(parameters, run.seed, data, history)
        if source.name == "folder":  # the rows were files, and now have a size
            source = replace(source, size=classifier.input_shape_[0])
            data = run_folder.load_data(source)
        result, y_proba = runs.score(classifier, data)
        result = {**result, "training_seconds": training_seconds}
        if is_table:
            result |= runs.score_prior(classifier, data)
        record = record_of(source, data, parameters, result)
        run_folder.write_run(output, classifier, record, history)
        _draw(output, classifier, data, y_proba)
    if run.json:
        content = {"output": str(output), **record.plain()}
        print_json(content | {"columns": columns} if is_table else content)
    else:
        print_scores(f"{source.title}, {len(data.X_test)} test {noun}", result)
    say(f"Written to {output}")


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


def check_outside(output: Path, pictures: Path) -> None:
    """Raise ValueError if the pictures of a run, and of those beside it, would become a class."""
    from skdidicm.folders import find_parts

    for part in find_parts(pictures):
        if output.resolve().is_relative_to(part.resolve()):
            raise ValueError(
                f"{output} lies in {part}, whose folders are classes; choose a folder elsewhere "
                "with --output."
            )


def check_readable(files: Sequence[str]) -> None:
    """Raise BadPictureError for a damaged test picture, which would end the run after training."""
    from skdidicm.pictures import Pictures

    Pictures(files, size=1)[:]


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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "column .* of X holds")  # the output tells it of all
        classifier.fit(data.X_train, data.y_train)
    seconds = time.perf_counter() - start
    lines.finish()
    return classifier.set_params(callbacks=None, verbose=0), seconds


def record_of(
    source: DataSource, data: "Split", settings: dict[str, Any], metrics: dict[str, Any]
) -> RunRecord:
    """Return the record of a finished run."""
    is_table = source.file is not None
    return RunRecord(
        dataset=source,
        settings=settings,
        class_names=list(data.class_names) or None,
        pixel_max=None if is_table else 255 if data.X_train.dtype == "uint8" else 1,
        crop=1.0 if source.name == "folder" else None,
        n_train=len(data.X_train),
        n_test=len(data.X_test),
        metrics=metrics,
    )


def kinds_of_columns(X: Any) -> dict[str, str]:
    """Return what every column of a data frame is taken for, in words.

    Examples
    --------
    >>> import pandas as pd
    >>> kinds_of_columns(pd.DataFrame({"age": [1, None, 3], "city": ["Rome", "Rome", "Oslo"]}))
    {'age': 'number, 1 gap', 'city': 'category of 1 level, and 1 rare'}
    """
    from skdidicm.fit.columns import FROM_DTYPE, find_categories, learn_columns, read_values

    values = read_values(X, find_categories(X, FROM_DTYPE), in_fit=True)
    learnt = learn_columns(values)
    found = {}
    for i, name in enumerate(X.columns):
        given = X[name].dropna()
        if not len(given):
            found[str(name)] = "empty"
            continue
        n_different = given.nunique()
        if n_different == 1 and len(given) == len(X):
            kind = "constant: of no use"
        elif i in learnt.categories:
            kind = _kind_of_texts(len(learnt.categories[i].levels), n_different)
        else:
            kind = _kind_of_numbers(given)
        n_gaps = len(X) - len(given)
        found[str(name)] = kind + f", {_count(n_gaps, 'gap')}" * bool(n_gaps)
    return found


def _kind_of_texts(n_levels: int, n_different: int) -> str:
    n_rare = n_different - n_levels
    if not n_levels:
        return f"text, {n_different} different: of no use"
    return f"category of {_count(n_levels, 'level')}" + f", and {n_rare} rare" * bool(n_rare)


def _kind_of_numbers(given: Any) -> str:
    """Return what a column is taken for whose cells are numbers or booleans, without gaps."""
    if all(isinstance(value, bool) for value in given.tolist()):
        return "boolean"
    whole = given.dtype.kind in "iu" and given.nunique() == len(given) > 2
    return "number, another in every row" if whole else "number"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


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
