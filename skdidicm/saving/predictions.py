"""Predictions for a folder of any number of pictures, in parts that an interruption keeps.

The files are divided into parts of `PART` pictures. A part is decoded in threads while the network
predicts the one before, and is written whole into OUTPUT.parts. Its name tells the sizes and times
of its pictures, so that it is predicted again if they have changed. Of several processes each takes
its share of the parts. The process that finds all parts written joins them to OUTPUT.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from skdidicm.folders import pictures_below
from skdidicm.pictures import without_warnings
from skdidicm.predict.inputs import RowFormat, read_rows
from skdidicm.saving.model_file import write_atomically
from skdidicm.tables import safe_cell

PART = 512  # pictures: those of 224 pixels take 77 MB, and two parts are in memory
FORMATS = (".csv", ".parquet")
_PLAN = "plan.json"


class Share(NamedTuple):
    """The number of this process among all that predict the same folder, and their number."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_torchrun(cls) -> "Share":
        """Return what torchrun says to this process; without it there is one."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@dataclass(frozen=True, kw_only=True)
class FolderJob:
    """What to predict, and where to.

    Parameters
    ----------
    root : Path
        Folder with pictures at any depth; hidden ones are left out.
    output : Path
        File with a suffix of `FORMATS`.
    model : str
        What tells the model and the settings of its sampler from others.
    names : sequence of str
        Names of the classes (k,).
    top : int
        How many of the likeliest classes to write.
    row_format : RowFormat
        The pictures that the model takes.
    workers : int
        Threads that decode.
    share : Share
        Which parts are this process's.
    begun : float
        When this process began, in seconds since the epoch. An output that is newer, where no
        parts are, was joined by another process meanwhile.
    """

    root: Path
    output: Path
    model: str
    names: Sequence[str]
    top: int
    row_format: RowFormat
    workers: int
    share: Share = field(default_factory=Share)
    begun: float = field(default_factory=time.time)

    @property
    def parts(self) -> Path:
        """Folder of the parts."""
        return self.output.with_name(f"{self.output.name}.parts")

    @property
    def lock(self) -> Path:
        """File that a process locks to begin or to join."""
        return self.output.with_name(f".{self.output.name}.lock")

    def part(self, i: int, files: Sequence[str]) -> Path:
        """Return the file of a part of these pictures, as they are now."""
        digest = hashlib.sha256()
        for file in files:
            with suppress(OSError):  # what cannot be read gets an error for its row
                found = (self.root / file).stat()
                digest.update(
                    f"{file} {found.st_size} {found.st_mtime_ns}\n".encode(errors="replace")
                )
        return self.parts / f"{i:06d}-{digest.hexdigest()[:16]}{self.output.suffix}"

    @property
    def was_joined(self) -> bool:
        """Whether another process has joined the parts since this one began."""
        if self.parts.is_dir() or not self.share.rank or not self.output.is_file():
            return False
        return self.output.stat().st_mtime >= self.begun

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        ranks = range(2, min(self.top, len(self.names)) + 1)
        more = [name for i in ranks for name in (f"class_{i}", f"probability_{i}")]
        return ["file", "class", "probability", *more, "error"]


def predict_folder(
    job: FolderJob,
    predict_proba: Callable[[NDArray[Any]], NDArray[np.floating]],
    progress: Callable[[int, int], None],
) -> bool:
    """Predict this process's parts that are not written yet; return whether the output is whole.

    Pictures that cannot be read have an error in place of classes.

    Parameters
    ----------
    job : FolderJob
        What to predict.
    predict_proba : callable
        Maps rows to probabilities (n, k).
    progress : callable
        Takes the number of this process's pictures that are done, and of all of them.

    Raises
    ------
    FileNotFoundError
        If there are no pictures.
    ValueError
        If parts of other pictures, or by another model, lie there.
    """
    files = sorted(os.path.relpath(file, job.root) for file in pictures_below(job.root))
    if not files:
        raise FileNotFoundError(f"{job.root} has no pictures; expected some at any depth.")
    n_parts = -(-len(files) // PART)
    own = range(job.share.rank, n_parts, job.share.world)
    if not own:
        return False
    if not _claim(job, files):
        return True
    parts = [job.part(i, files[i * PART : (i + 1) * PART]) for i in range(n_parts)]
    sizes = {i: min(PART, len(files) - i * PART) for i in own}
    waiting = [i for i in own if not parts[i].exists()]
    done = sum(sizes.values()) - sum(sizes[i] for i in waiting)
    for i, part, rows in _decoded(job, files, waiting):
        write_atomically(parts[i], _content(job, _rows(job, part, rows, predict_proba)))
        done += sizes[i]
        progress(done, sum(sizes.values()))
    return _join(job, parts)


def check_output(output: Path, *, overwrite: bool) -> None:
    """Raise ValueError unless predictions can be written to a file."""
    if output.suffix not in FORMATS:
        raise ValueError(f"--output is {output}; expected a file ending in .csv or .parquet.")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent} is not a folder; create it first.")
    if output.is_dir():
        raise ValueError(f"{output} is a folder; choose another --output.")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; choose another --output, or pass --overwrite.")
    if output.suffix == ".parquet":
        _pyarrow()


def _claim(job: FolderJob, files: Sequence[str]) -> bool:
    """Make the folder of the parts, or check that those in it are of the same job.

    False if another process has joined them to the output.
    """
    digest = hashlib.sha256("\0".join(files).encode(errors="surrogateescape")).hexdigest()
    plan = {
        "model": job.model,
        "root": str(job.root.resolve()),
        "files": digest,
        "rows": repr(job.row_format),
        "names": list(job.names),
        "columns": job.columns,
        "part": PART,
    }
    file = job.parts / _PLAN
    with FileLock(job.lock):
        if job.was_joined:
            job.lock.unlink(missing_ok=True)
            return False
        job.parts.mkdir(exist_ok=True)
        if not file.exists():
            write_atomically(file, json.dumps(plan).encode())
        elif json.loads(file.read_text(encoding="utf-8")) != plan:
            raise ValueError(
                f"{job.parts} holds predictions of other pictures, or by another model or with "
                "other options; pass the same ones to go on, or remove the folder."
            )
    return True


def _decoded(
    job: FolderJob, files: Sequence[str], waiting: Sequence[int]
) -> Iterator[tuple[int, Sequence[str], list[NDArray[Any] | str]]]:
    """Yield parts with their files, each decoded or the reason why it cannot be.

    While the caller works on a part, threads decode the next one.
    """

    def read(file: str) -> NDArray[Any] | str:
        try:
            row: NDArray[Any] = read_rows(job.root / file, job.row_format)[0]
        except (OSError, ValueError) as error:
            return str(error)
        return row

    with without_warnings(), ThreadPoolExecutor(job.workers) as pool:

        def begin(i: int) -> tuple[int, Sequence[str], list[Future[Any]]]:
            part = files[i * PART : (i + 1) * PART]
            return i, part, [pool.submit(read, file) for file in part]

        begun = [begin(i) for i in waiting[:1]]
        try:
            for k in range(len(waiting)):
                i, part, futures = begun.pop()
                rows = [future.result() for future in futures]
                begun += [begin(following) for following in waiting[k + 1 : k + 2]]
                yield i, part, rows
        finally:
            pool.shutdown(cancel_futures=True)


def _rows(
    job: FolderJob,
    files: Sequence[str],
    rows: Sequence[NDArray[Any] | str],
    predict_proba: Callable[[NDArray[Any]], NDArray[np.floating]],
) -> list[list[Any]]:
    """Return the cells of the output for some files."""
    good = [row for row in rows if not isinstance(row, str)]
    proba = iter(predict_proba(np.stack(good)) if good else ())
    width = len(job.columns) - 2
    found: list[list[Any]] = []
    for file, row in zip(files, rows, strict=True):
        name = file.encode(errors="surrogateescape").decode(errors="backslashreplace")
        if isinstance(row, str):
            found.append([name, *[None] * width, row])
            continue
        p = next(proba)
        order = (-p).argsort(kind="stable")[: width // 2]
        found.append([name, *(v for i in order for v in (job.names[i], float(p[i]))), None])
    return found


def _content(job: FolderJob, rows: list[list[Any]]) -> bytes:
    """Return rows as a file of a part."""
    if job.output.suffix == ".parquet":
        pa, parquet = _pyarrow()
        kinds = [pa.float64() if "probability" in name else pa.string() for name in job.columns]
        schema = pa.schema(list(zip(job.columns, kinds, strict=True)))
        columns = [list(column) for column in zip(*rows, strict=True)]
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table(columns, schema=schema), sink)
        content: bytes = sink.getvalue().to_pybytes()
        return content
    return _lines(rows)


def _lines(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else safe_cell(v or "") for v in row])
    return text.getvalue().encode()


def _join(job: FolderJob, parts: Sequence[Path]) -> bool:
    """Join the parts if all are written; return whether the output is whole."""
    with FileLock(job.lock):
        if not job.parts.is_dir():  # another process has joined them
            return job.output.exists()
        if not all(part.exists() for part in parts):
            return False
        whole = job.parts / f"whole{job.output.suffix}"
        if job.output.suffix == ".parquet":
            _, parquet = _pyarrow()
            with parquet.ParquetWriter(whole, parquet.read_schema(parts[0])) as writer:
                for part in parts:
                    writer.write_table(parquet.read_table(part))
        else:
            with whole.open("wb") as file:
                file.write(_lines([list(job.columns)]))
                for part in parts:
                    file.write(part.read_bytes())
        whole.replace(job.output)
        shutil.rmtree(job.parts)
        job.lock.unlink(missing_ok=True)
        return True


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "parquet files need pyarrow, which is not installed; install it with: pip install "
            '"skdidicm[tables]", or choose an --output that ends in .csv.'
        ) from error
    return pyarrow, parquet
