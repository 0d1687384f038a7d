"""`skdidicm check-data`: decode every image of a tree and report its faults."""

import json as json_text
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skdidicm.cli.console import print_json, print_table, say

if TYPE_CHECKING:
    from skdidicm.imagenet.check import DataReport, Fault, ImageInfo

_PAUSE = 5.0  # seconds between two lines of progress


def check_data(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with train/CLASS/* and val/CLASS/*.")
    ],
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that read pictures.", show_default="one per core"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File to write the faults to, one JSON object a line.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Decode every picture of a tree as training does; the exit code is 1 if there are faults."""
    from skdidicm.imagenet import check

    tree = check.scan_tree(folder)
    files = tree.files
    infos = check.inspect_images(files, jobs or _cores())
    found = check.report(tree, list(with_progress(infos, len(files))))
    if output is not None:
        lines = [json_text.dumps(fault.plain()) + "\n" for fault in found.faults]
        output.write_text("".join(lines), encoding="utf-8")
    if json:
        faults = [fault.plain() for fault in found.faults]
        print_json({"data": str(folder), "splits": found.splits, "faults": faults})
    else:
        _print(folder, found)
    if found.faults:
        raise typer.Exit(1)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_progress(infos: Iterable["ImageInfo"], total: int) -> "Iterator[ImageInfo]":
    """Yield the items and show progress: a bar on a terminal, else a line every few seconds."""
    return _with_bar(infos, total) if sys.stderr.isatty() else _with_lines(infos, total)


def _with_bar(infos: Iterable["ImageInfo"], total: int) -> "Iterator[ImageInfo]":
    from rich.console import Console
    from rich.progress import track

    yield from track(infos, "Reading pictures", total=total, console=Console(stderr=True))


def _with_lines(infos: Iterable["ImageInfo"], total: int) -> "Iterator[ImageInfo]":
    bad, last = 0, time.monotonic()
    for i, one in enumerate(infos, start=1):
        bad += bool(one.reason)
        if i == total or time.monotonic() - last >= _PAUSE:
            say(f"{i}/{total} pictures read, {bad} unreadable")
            last = time.monotonic()
        yield one


def _print(folder: Path, found: "DataReport") -> None:
    rows = [_row(split, summary) for split, summary in found.splits.items()]
    header = ("Split", "Pictures", "Classes", "Unreadable", "Empty", "Missing", "Unknown")
    print_table(str(folder), (*header, "Smallest", "Rotated", "Unusual modes"), rows)
    if found.faults:
        faults = [_cells(fault) for fault in found.faults]
        print_table("Faults", ("Split", "Class", "Fault", "What"), faults)
    say(f"{len(found.faults)} faults." if found.faults else "No faults.")


def _row(split: str, summary: dict[str, Any]) -> list[str]:
    names = ("pictures", "classes", "unreadable", "empty_classes", "missing_classes")
    smallest = summary["smallest"]
    return [
        split,
        *(str(summary[name]) for name in (*names, "unknown_classes")),
        "x".join(map(str, smallest)) if smallest else "-",
        str(summary["rotated"]),
        ", ".join(f"{mode} {n}" for mode, n in summary["unusual_modes"].items()) or "-",
    ]


def _cells(fault: "Fault") -> list[str]:
    from skdidicm.imagenet.check import KINDS

    what = f"{fault.path}: {fault.reason}" if fault.path else KINDS[fault.kind]
    return [fault.split, fault.class_name or "-", fault.kind, what]
