"""The command line: `skdidicm train`, `evaluate`, `predict`, `report`, `doctor` and others.

Modules of this package import numpy, scikit-learn and the estimator inside their functions only, so
that `skdidicm --help` answers at once.
"""

import io
import sys
from typing import Annotated

import typer

from skdidicm.cli import evaluate, reproduce, train
from skdidicm.cli.check_data import check_data
from skdidicm.cli.console import SentenceGroup, print_version
from skdidicm.cli.doctor import doctor
from skdidicm.cli.export import export, import_official
from skdidicm.cli.info import backends, info
from skdidicm.cli.predict import predict
from skdidicm.cli.report import report
from skdidicm.cli.study import study

app = typer.Typer(
    name="skdidicm",
    cls=SentenceGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(reproduce.app, name="reproduce")
for command in (
    predict,
    export,
    import_official,
    info,
    backends,
    check_data,
    study,
    report,
    doctor,
):
    app.command()(command)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Show the version."),
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from, for a bug report.")
    ] = False,
) -> None:
    """Trustworthy class probabilities by discrete diffusion over labels."""


def main() -> None:
    """Run the command line; the console script and `python -m skdidicm` call this."""
    for stream in (sys.stdout, sys.stderr):  # a name that cannot be encoded ends no command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="skdidicm")
