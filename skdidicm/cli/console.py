"""Output: results go to stdout, progress and messages to stderr; a user's error is one sentence.

Names of classes and files may come from others, so what people read shows their control characters
and marks of text direction as escapes.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from skdidicm.errors import reason

_USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)
_OUT_OF_MEMORY = "out of memory"  # what torch says in a RuntimeError
_UNBOUNDED = 100_000  # columns of text
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # categories of characters that show nothing
_JOINERS = "\u200c\u200d"  # of Persian, Indic scripts and emoji


class SentenceGroup(TyperGroup):
    """A command group that prints one sentence for an error that the user can correct.

    The exit code is then 1, 2 for wrong usage (typer's own), and 130 after Ctrl-C.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            if ctx.params.get("traceback") or not _is_correctable(error):
                raise
            typer.secho("Error: ", fg="red", err=True, nl=False)
            say(sentence(error))
            raise typer.Exit(1) from None


def default_command(name: str) -> type[TyperGroup]:
    """Return a command group that runs `name` if the first argument is not a command."""

    class DefaultGroup(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            asks_help = set(args[:1]) & set(ctx.help_option_names)
            if args and args[0] not in self.commands and not asks_help:
                args = [name, *args]
            return super().parse_args(ctx, args)

    return DefaultGroup


def _is_correctable(error: Exception) -> bool:
    """Return whether the user can correct an error; else it is a bug."""
    if isinstance(error, BrokenPipeError):  # the reader, such as head, has exited
        return False
    return isinstance(error, _USER_ERRORS) or _OUT_OF_MEMORY in str(error).lower()


def sentence(error: Exception) -> str:
    """Return the message for an error.

    Examples
    --------
    >>> sentence(PermissionError(13, "Permission denied", "runs/a"))
    'runs/a: permission denied.'
    """
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}."
    if _OUT_OF_MEMORY in str(error).lower():
        return f"{reason(error)}. A smaller --batch-size takes less memory."
    if isinstance(error, MemoryError):
        return "there is not enough memory."
    return str(error).strip() or f"{type(error).__name__}, without further explanation."


def is_first() -> bool:
    """Return whether this process writes files and messages for all of a distributed run."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Write a message to stderr."""
    typer.echo("\n".join(map(visible, text.split("\n"))), err=True)


def visible(text: str) -> str:
    r"""Return a text in which characters that a terminal obeys are escapes.

    Examples
    --------
    >>> print(visible("cat\x1b[31m"), visible("\u202etac"), visible("gr\xfcn"))
    cat\x1b[31m \u202etac grün
    """
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


@contextmanager
def results() -> Iterator[None]:
    """Write results to stdout; an error says that it was there, such as one of a full disk."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise
        with suppress(OSError, ValueError):  # what is left in the buffer would fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "standard output") from error


def print_path(path: Path) -> None:
    """Write the name of a file to stdout: for people on a terminal, else byte for byte."""
    with results():
        typer.echo(visible(str(path)) if sys.stdout.isatty() else os.fsencode(path))


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"skdidicm {version('skdidicm')}")
        raise typer.Exit


def print_json(content: Any) -> None:
    """Write one JSON object to stdout."""
    with results():
        typer.echo(json.dumps(content, indent=2, allow_nan=False))


def print_table(
    title: str | None, header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0
) -> None:
    """Write a table to stdout; the last `numbers` columns are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    shown = None if title is None else visible(title)
    table = Table(title=shown, title_justify="left", box=box.SIMPLE_HEAD, show_header=any(header))
    for i, name in enumerate(header):
        right = i >= len(header) - numbers
        table.add_column(visible(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(visible, row))
    if not console.is_terminal:  # a file or pipe has no edge to wrap at
        unbounded = console.options.update(max_width=_UNBOUNDED)
        console.width = console.measure(table, options=unbounded).maximum
    with results():
        console.print(table)


def print_scores(title: str, result: dict[str, Any]) -> None:
    """Write the figures of a training run or an evaluation as a table to stdout."""
    shown = {
        "accuracy": ("Accuracy", _percent),
        "top5_accuracy": ("Top-5 accuracy", _percent),
        "nll": ("Negative log-likelihood", "{:.3f} nats".format),
        "ece": ("Expected calibration error", _percent),
        "training_seconds": ("Training", _seconds),
        "prediction_seconds": ("Prediction", _seconds),
    }
    priors = any(key.startswith("prior_") for key in result)
    rows = []
    for key, (label, write) in shown.items():
        if result.get(key) is not None:
            prior = result.get(f"prior_{key}")
            rows.append(
                (label, write(result[key]), *["" if prior is None else write(prior)] * priors)
            )
    header = ("", "Model", "Class prior") if priors else ("", "")
    print_table(title, header, rows, numbers=len(header) - 1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
