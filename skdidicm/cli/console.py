"""Output: results go to stdout, messages to stderr, and an error of the user is one sentence."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

_USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)
_OUT_OF_MEMORY = "out of memory"  # what torch says in a RuntimeError
_UNBOUNDED = 100_000  # columns of text


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
            typer.echo(sentence(error), err=True)
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
        return f"{str(error).splitlines()[0]} A smaller --batch-size takes less memory."
    return str(error).strip() or f"{type(error).__name__}, without further explanation."


def say(text: str) -> None:
    """Write a message to stderr."""
    typer.echo(text, err=True)


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"skdidicm {version('skdidicm')}")
        raise typer.Exit


def print_json(content: Any) -> None:
    """Write one JSON object to stdout."""
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def print_table(
    title: str | None, header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0
) -> None:
    """Write a table to stdout; the last `numbers` columns are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=any(header))
    for i, name in enumerate(header):
        right = i >= len(header) - numbers
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    if not console.is_terminal:  # a file or pipe has no edge to wrap at
        unbounded = console.options.update(max_width=_UNBOUNDED)
        console.width = console.measure(table, options=unbounded).maximum
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
    rows = [
        (label, write(result[key]))
        for key, (label, write) in shown.items()
        if result.get(key) is not None
    ]
    print_table(title, ("", ""), rows, numbers=1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
