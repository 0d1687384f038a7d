"""Run folders: the files that a run leaves, what is in them, and which process may write them."""

import json
import math
import os
import shlex
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdidicm.datasets import Split

MODEL = "model.skd"
METRICS = "metrics.json"
HISTORY = "history.jsonl"
CONFIG = "config.json"
LOCK = ".lock"
_HOLDER = ".lock.json"  # beside the lock, since some systems let nobody read a locked file
_REPLACED = (METRICS, "posterior_path.png", "learning_curve.png", "report.html")
_FOREIGN = {
    "checkpoints": "train imagenet",
    CONFIG: "train imagenet",
    "cells.jsonl": "study",
    "table1.md": "reproduce",
}
_PATIENCE = 0.5  # seconds, so that a lock that is just being released is not reported as held


class RunFolderError(ValueError):
    """A run folder cannot be used, or a file in it is damaged; the message says why."""


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The data set of a run: what is needed to load its rows again.

    A table has a `file`, the column `target` of its classes, and `test_size`, the share of its test
    rows; `dropped` and `categories` are columns, as in `skdidicm.frames.load_table`. A folder of
    pictures has a `test_size` and the `size` that they are brought to.
    """

    name: str
    folder: str | None = None
    n_train: int | None = None
    noise: float | None = None
    seed: int | None = None
    file: str | None = None
    target: str | None = None
    dropped: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    test_size: float | None = None
    size: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return the JSON values; what does not apply to the data set is left out."""
        values = asdict(self)
        always = ("folder", "n_train", "noise", "seed") if self.name == "fashion-mnist" else ()
        return {name: v for name, v in values.items() if v is not None or name in always}

    @property
    def title(self) -> str:
        """What people know the data set by."""
        place = self.folder if self.name == "folder" else self.file
        return self.name if place is None else Path(place).name

    def moved(self, path: Path) -> "DataSource":
        """Return the same data in another folder, or a table in another file.

        Raises
        ------
        ValueError
            If the data set is in no file.
        """
        place = str(path.resolve())
        if self.file is not None:
            return replace(self, file=place)
        if self.folder is None:
            raise ValueError(f"the data set {self.name} needs no folder; leave out --data {path}.")
        return replace(self, folder=place)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of metrics.json; None where a run does not say.

    `settings` are those that were given for the run, `metrics` the figures of its last evaluation.
    Pixels of the training images lie between 0 and `pixel_max`. `crop` is the share of a picture's
    shorter side that a model trained on folders of pictures sees.
    """

    skdidicm: str | None = field(default_factory=lambda: version("skdidicm"))
    dataset: DataSource | None = None
    settings: Mapping[str, Any] | None = None
    class_names: Sequence[str] | None = None
    pixel_max: float | None = None
    crop: float | None = None
    n_train: int | None = None
    n_test: int | None = None
    update: int | None = None
    metrics: Mapping[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Return the JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.dataset is not None:
            values["dataset"] = self.dataset.plain()
        return {name: value for name, value in values.items() if value is not None}

    def names_of(self, labels: Iterable[Any]) -> list[str]:
        """Return the names of class labels: those of the data set, or the labels themselves.

        Examples
        --------
        >>> RunRecord(class_names=["cat", "dog"]).names_of([1, 0]), RunRecord().names_of([1])
        (['dog', 'cat'], ['1'])
        """
        found, names = [str(label) for label in labels], self.class_names or ()
        if not names or not all(label.isdecimal() and int(label) < len(names) for label in found):
            return found
        return [names[int(label)] for label in found]


@dataclass(frozen=True)
class RunSettings:
    """The content of config.json: the settings of a run, and where each was given."""

    settings: Mapping[str, Any]
    origins: Mapping[str, str]


def default_folder(dataset: str) -> Path:
    """Return a folder below the working directory that is named for the data and the time."""
    return Path("runs") / f"{dataset}-{datetime.now():%Y%m%d-%H%M%S}"


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Let no other process write a run folder; the lock ends with the process at the latest.

    The folder is made if it does not exist, and removed again if nothing was written into it.

    Raises
    ------
    RunFolderError
        If another process holds the folder, or it is a file.
    """
    from filelock import FileLock, Timeout

    made = _make(folder)
    lock = FileLock(folder / LOCK, timeout=_PATIENCE)
    try:
        try:
            lock.acquire()
        except Timeout:
            raise RunFolderError(_describe_holder(folder)) from None
        try:
            holder = json.dumps(asdict(Holder.of_this_process()))
            (folder / _HOLDER).write_text(holder, encoding="utf-8")
            yield folder
        finally:
            for name in (_HOLDER, LOCK):  # while they are locked: later ones may be another's
                with suppress(OSError):
                    (folder / name).unlink()
            lock.release()
    finally:
        for path in made:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder and its parents; return those that were made, the innermost first."""
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; choose a folder with --output.")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return made


@dataclass(frozen=True)
class Holder:
    """The process that writes a run folder."""

    pid: int
    host: str
    command: str
    since: str

    @classmethod
    def of_this_process(cls) -> "Holder":
        """Describe this process."""
        name = Path(sys.argv[0]).name
        program = "skdidicm" if name in ("__main__.py", "skdidicm") else name
        command = shorten(shlex.join([program, *sys.argv[1:]]), 200)
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        return cls(os.getpid(), socket.gethostname(), command, now)


def _describe_holder(folder: Path) -> str:
    try:
        holder = Holder(**json.loads((folder / _HOLDER).read_text(encoding="utf-8")))
        who = f"process {holder.pid} on {holder.host} ({holder.command}), since {holder.since}"
    except (OSError, ValueError, TypeError):  # it has not written who it is, or is older
        who = "another process"
    return (
        f"{folder} is being written by {who}; wait for that process, stop it, or choose another "
        "--output."
    )


@contextmanager
def new_run(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Hold a folder for a run that does not go on with an earlier one; nothing is changed.

    Raises
    ------
    RunFolderError
        If the folder holds files already, unless `overwrite` is set; if they are those of another
        command; if another process writes them.
    """
    with locked(folder):
        present = {path.name for path in folder.iterdir()} - {LOCK, _HOLDER}
        foreign = sorted(present & _FOREIGN.keys())
        if present and not overwrite:
            raise RunFolderError(
                f"{folder} holds files already; choose another folder with --output, or pass "
                "--overwrite to replace the run in it."
            )
        if foreign:
            raise RunFolderError(
                f"{folder} holds {foreign[0]} of skdidicm {_FOREIGN[foreign[0]]}, which "
                "--overwrite does not replace; choose another folder with --output."
            )
        yield folder


class HistoryFile:
    """A callback that writes each epoch's row as the epoch ends, so that Ctrl-C keeps the history.

    The history of an earlier run in the folder is kept until `finish`.
    """

    def __init__(self, folder: Path) -> None:
        self._final = folder / HISTORY
        earlier = self._final.exists() or (folder / MODEL).exists()
        self._path = folder / f".{HISTORY}.partial" if earlier else self._final
        self._mode = "w"

    def __call__(self, _: Any, row: Mapping[str, float]) -> None:
        """Add a row to the file."""
        from skdidicm.imagenet.output import naming

        with naming(self._path), self._path.open(self._mode, encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._mode = "a"

    def finish(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Put the history of the model in the place of that of an earlier run.

        A fit that estimates label noise trains several networks, one of which becomes the model.
        """
        if self._mode == "a":
            self._path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            if self._path != self._final:
                self._path.replace(self._final)


def write_run(folder: Path, classifier: Any, record: RunRecord, history: HistoryFile) -> None:
    """Write the model, its record and its history, in the place of those of an earlier run."""
    for name in _REPLACED:  # a crash in between leaves no figures rather than those of another run
        (folder / name).unlink(missing_ok=True)
    classifier.save(folder / MODEL)
    history.finish(classifier.history_)
    write_record(folder, record)


def write_record(folder: Path, record: RunRecord) -> None:
    """Write metrics.json: the old file or the new one, never half."""
    _write(folder / METRICS, json.dumps(record.plain(), indent=2) + "\n")


def write_settings(folder: Path, content: RunSettings) -> None:
    """Write config.json: the old file or the new one, never half."""
    _write(folder / CONFIG, json.dumps(asdict(content), indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    from skdidicm.saving.model_file import write_atomically

    write_atomically(path, text.encode("utf-8"))


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


def read_record(path: Path) -> RunRecord | None:
    """Return the content of metrics.json of a run folder or beside a model, None without the file.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
    file = (path if path.is_dir() else path.parent) / METRICS
    if not file.is_file():
        return None
    with _explained(file):
        content = _expect(json.loads(file.read_text(encoding="utf-8")), dict, "the file")
        return _record(content)


def read_settings(folder: Path) -> RunSettings | None:
    """Return the content of config.json, None without the file; raise as `read_record` does."""
    file = folder / CONFIG
    if not file.is_file():
        return None
    with _explained(file):
        content = _expect(json.loads(file.read_text(encoding="utf-8")), dict, "the file")
        parts = (_expect(content.get(name), dict, name) for name in ("settings", "origins"))
        return RunSettings(*parts)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of history.jsonl; raise as `read_record` does.

    A last line that was cut short is left out: the run was killed while it wrote the line.
    """
    file = folder / HISTORY
    with _explained(file):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        if len(lines) > 1 and not lines[-1].endswith("\n"):
            lines.pop()
        return check_history([json.loads(line) for line in lines])


def check_history(rows: object) -> list[dict[str, Any]]:
    """Return a history after checking that every row has numbers by name.

    Raises
    ------
    ValueError
        If it is of another form.

    Examples
    --------
    >>> check_history([{"epoch": 1, "loss": 0.5}])
    [{'epoch': 1, 'loss': 0.5}]
    """
    for i, row in enumerate(_expect(rows, list, "the history"), start=1):
        _expect(row, dict, f"row {i} of the history")
        for name in ("epoch", "loss"):
            if name not in row:
                raise ValueError(f"row {i} of the history has no {name}")
        for name, value in row.items():
            if name != "figures":  # of runs on pictures: the whole evaluation
                _expect(value, (int, float), f"{name} in row {i} of the history")
    return rows  # type: ignore[return-value]


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, RecursionError) as error:
        reason = shorten(str(error), 200)
        raise RunFolderError(
            f"{file} is damaged ({reason}); restore it from a copy, or remove it and run the "
            "command that wrote it again."
        ) from error


_JSON_NAMES = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}


def _expect(value: Any, kinds: Any, what: str) -> Any:
    """Return a value after checking its type; a bool is no number."""
    if not isinstance(value, kinds) or isinstance(value, bool):
        expected = _JSON_NAMES.get(kinds, "a number")
        raise ValueError(f"{what} is {shorten(repr(value), 60)}; expected {expected}")
    return value


def _record(content: Mapping[str, Any]) -> RunRecord:
    """Return the record that JSON values describe; unknown names are of later versions."""
    kinds: dict[str, Any] = {
        "skdidicm": str,
        "dataset": dict,
        "settings": dict,
        "class_names": list,
        "pixel_max": (int, float),
        "crop": (int, float),
        "n_train": int,
        "n_test": int,
        "update": int,
        "metrics": dict,
    }
    values: dict[str, Any] = dict.fromkeys(kinds)
    for name, kind in kinds.items():
        if content.get(name) is not None:
            values[name] = _expect(content[name], kind, name)
    for name in values["class_names"] or ():
        _expect(name, str, "a class name")
    for name in ("pixel_max", "crop"):
        if values[name] is not None and not 0 < values[name] < math.inf:
            raise ValueError(f"{name} is {values[name]}; expected a number above 0")
    if values["dataset"] is not None:
        values["dataset"] = _source(values["dataset"])
    _check_figures(values["metrics"] or {})
    return RunRecord(**values)


def _source(content: Mapping[str, Any]) -> DataSource:
    kinds: dict[str, Any] = {
        "name": str, "folder": str, "n_train": int, "noise": (int, float), "seed": int,
        "file": str, "target": str, "dropped": list, "categories": list,
        "test_size": (int, float), "size": int,
    }  # fmt: skip
    given = {name: content[name] for name in kinds if content.get(name) is not None}
    for name, value in given.items():
        _expect(value, kinds[name], f"{name} of the dataset")
    for column in (*given.get("dropped", ()), *given.get("categories", ())):
        _expect(column, str, "a column of the dataset")
    if "name" not in given:
        raise ValueError("the dataset has no name")
    return DataSource(**given)


def _check_figures(metrics: Mapping[str, Any]) -> None:
    """Check that figures are finite numbers, or lists of them where every step has one."""
    for name, value in metrics.items():
        by_step = name.endswith("_by_step")
        for number in _expect(value, list, name) if by_step else [value]:
            if number is not None and not math.isfinite(_expect(number, (int, float), name)):
                raise ValueError(f"{name} is {number}; expected a finite number")


def load_data(source: DataSource) -> "Split":
    """Return the training and test rows of a data set.

    Raises
    ------
    ValueError
        If the data set is not one that the library loads.
    """
    from skdidicm.datasets import load_digits_split, load_fashion_mnist, load_folder_split

    if source.name == "digits":
        return load_digits_split(source.seed or 0)
    if source.name == "fashion-mnist":
        folder, noise, seed = source.folder or "", source.noise or 0.0, source.seed or 0
        return load_fashion_mnist(folder, source.n_train, noise, seed)
    if source.name == "folder":
        return load_folder_split(
            source.folder or "", source.size, source.test_size or 0.2, source.seed or 0
        )
    if source.name == "table" and source.file is not None and source.target is not None:
        from skdidicm.frames import load_table

        return load_table(
            source.file,
            source.target,
            dropped=source.dropped or (),
            categories=source.categories or (),
            test_size=source.test_size or 0.2,
            seed=source.seed or 0,
        )
    raise ValueError(
        f"the data set {source.name!r} is not known; expected digits, fashion-mnist, folder or "
        "table."
    )


def check_unchanged(record: RunRecord, data: "Split") -> str | None:
    """Return a warning if the data of a run have other numbers of rows than then.

    Raises
    ------
    RunFolderError
        If their classes are others, so that the numbers of the classes are.
    """
    if record.class_names and data.class_names and [*record.class_names] != [*data.class_names]:
        new = sorted(set(data.class_names) ^ set(record.class_names))
        raise RunFolderError(
            f"the data have other classes than those that the model was trained on ("
            f"{shorten(', '.join(new), 100)}); restore the data, or train again."
        )
    then, now = (record.n_train, record.n_test), (len(data.y_train), len(data.y_test))
    if None in then or then == now:
        return None
    return (
        f"The data have changed since the training: {then[0]} rows to train on and {then[1]} to "
        f"test on then, {now[0]} and {now[1]} now. Some test rows may be ones of the training."
    )
