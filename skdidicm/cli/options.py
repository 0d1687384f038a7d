"""Options that several commands share, each defined once as the field of a dataclass.

Fields of `SamplerOptions` and `TrainOptions` have the names of parameters of `DiDiClassifier`.
None leaves the default to the classifier; `show_default` is only what the help shows.
"""

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import typer


def _option(
    panel: str,
    text: str,
    default: str = "auto",
    flag: str | None = None,
    metavar: str | None = None,
    flags: tuple[str, ...] = (),
    **more: Any,
) -> Any:
    names = (flag,) if flag else flags
    return typer.Option(
        *names, help=text, show_default=default, rich_help_panel=panel, metavar=metavar, **more
    )


def _share_or_auto(text: str) -> float | str:
    """Return a share of labels as a number, or "auto"."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a share such as 0.2 nor auto.") from None


_sampling = functools.partial(_option, "Sampler")
_network = functools.partial(_option, "Network")
_training = functools.partial(_option, "Training")
_backend = functools.partial(_option, "Backend")


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """Settings of the sampler; the default is that of the model."""

    default_shown: ClassVar[str | None] = "the model's"

    steps: Annotated[int | None, _sampling("Reverse steps.", "8")] = None
    sampler: Annotated[
        str | None,
        _sampling("Carry class probabilities (cp) or chains of labels (cl).", "cp", None, "cp|cl"),
    ] = None
    solver: Annotated[
        str | None,
        _sampling("Euler step or exact Bayes bridge.", "auto", None, "auto|euler|bridge"),
    ] = None
    label_rule: Annotated[
        str | None,
        _sampling("Label that a step of cp conditions on.", "argmin", None, "argmin|argmax|draw"),
    ] = None
    n_chains: Annotated[int | None, _sampling("Chains per row of cl.", "16")] = None


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """Which backend computes, and where."""

    backend: Annotated[str | None, _backend("Name of an installed backend.")] = None
    device: Annotated[str | None, _backend("Where to compute: cpu, cuda, cuda:1, ...")] = None


@dataclass(frozen=True, kw_only=True)
class TrainOptions(BackendOptions, SamplerOptions):
    """The settings of a classifier."""

    default_shown: ClassVar[str | None] = None  # but each option's own

    precision: Annotated[str | None, _backend("Number format of the backend.")] = None
    compile: Annotated[
        bool | None, _backend("Compile the network, for long runs on a GPU.", "no", "--compile")
    ] = None
    network: Annotated[
        str | None, _network("Name that the backend knows: mlp, didirn-tiny, didirn18, ...")
    ] = None
    conditioning: Annotated[
        str | None,
        _network(
            "Where label and noise enter; none: an ordinary classifier.",
            "auto",
            None,
            "auto|blocks|last|head|none",
        ),
    ] = None
    parameterization: Annotated[
        str | None,
        _network("What the outputs mean.", "auto", None, "auto|score|posterior"),
    ] = None
    objective: Annotated[
        str | None,
        _network(
            "Training loss; bayes_cross_entropy needs --parameterization posterior.",
            "auto",
            None,
            "auto|score_entropy|bayes_cross_entropy|cross_entropy",
        ),
    ] = None
    schedule: Annotated[
        str | None,
        _network("Noise over time.", "loglinear", None, "loglinear|geometric|cosine"),
    ] = None
    n_draws: Annotated[int | None, _training("Noisy labels per row and update.")] = None
    effort: Annotated[
        str | None,
        _training(
            "Cost of what is auto. fast: one network without a trial; thorough: a trial of five "
            "folds, whose networks predict too.",
            "auto",
            None,
            "fast|auto|thorough",
        ),
    ] = None
    max_epochs: Annotated[
        int | None, _training("Passes over the training data.", flag="--epochs")
    ] = None
    batch_size: Annotated[
        int | None, _training("Rows per update.", flags=("--batch-size", "-b"))
    ] = None
    learning_rate: Annotated[
        float | None, _training("Peak learning rate.", flags=("--learning-rate", "--lr"))
    ] = None
    weight_decay: Annotated[float | None, _training("Weight decay.")] = None
    mixup: Annotated[
        float | None, _training("Parameter of mixup's Beta distribution; 0: no mixup.")
    ] = None
    average: Annotated[
        bool | None,
        typer.Option(
            "--average/--last-weights",
            help="Predict with the average of the weights after each epoch; auto: yes, but with "
            "many images the trial decides.",
            show_default="auto",
            rich_help_panel="Training",
        ),
    ] = None
    choose_epochs: Annotated[
        bool | None,
        typer.Option(
            "--choose-epochs/--all-epochs",
            help="Choose the number of epochs on held-out rows; auto: for 30 to 50,000 rows.",
            show_default="auto",
            rich_help_panel="Training",
        ),
    ] = None
    ensemble: Annotated[
        bool | None,
        typer.Option(
            "--ensemble/--one-network",
            help="Also predict with the networks of that trial; auto: for few rows.",
            show_default="auto",
            rich_help_panel="Training",
        ),
    ] = None
    additive: Annotated[
        bool | None,
        typer.Option(
            "--additive/--no-additive",
            help="Let an additive model of a table's columns answer beside the networks; auto: for "
            "tables that are neither long nor wide.",
            show_default="auto",
            rich_help_panel="Training",
        ),
    ] = None
    trees: Annotated[
        bool | None,
        typer.Option(
            "--trees/--no-trees",
            help="Let randomised trees answer beside the networks; auto: for tables that are "
            "neither long nor wide.",
            show_default="auto",
            rich_help_panel="Training",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        _training("Probabilities to the power of 1 / temperature; auto: chosen on held-out rows."),
    ] = None
    label_noise: Annotated[
        Any,
        _training(
            "Share of wrong labels, which is learnt through; auto: estimated on held-out rows.",
            "None",
            None,
            "SHARE|auto",
            parser=_share_or_auto,
        ),
    ] = None
    early_stopping: Annotated[
        bool | None,
        _training("Hold out a tenth to find the best epoch.", "no", "--early-stopping"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class FolderOptions(TrainOptions):
    """The settings of a classifier of pictures in files."""

    pretrained: Annotated[
        bool | None,
        _network(
            "Start from the weights of the network's name, which timm downloads once.",
            "no",
            "--pretrained",
        ),
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            "--initial-checkpoint",
            help="Start from the weights in this file (.safetensors or .pth).",
            show_default=False,
            rich_help_panel="Network",
        ),
    ] = None
    trunk_learning_rate: Annotated[
        float | None,
        _network(
            "Factor of the learning rate for a pretrained network; 0: it stays as it is.", "0"
        ),
    ] = None
    frozen_epochs: Annotated[
        int | None,
        _training("Epochs before --epochs that leave a pretrained network as it is."),
    ] = None
    image_size: Annotated[
        int | None,
        _network("Pixels a side; auto: those of a pretrained network, else at most 48."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Seed and output of a run."""

    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, help="Seed of the data split, the noise and the training."
        ),
    ] = 0
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to write.", show_default="runs/DATASET-DATE-TIME"),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in a folder that is not empty.")
    ] = False
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False


def given(options: Any) -> dict[str, Any]:
    """Return the options that the user has set.

    Examples
    --------
    >>> given(SamplerOptions(steps=4))
    {'steps': 4}
    """
    return {name: value for name, value in asdict(options).items() if value is not None}


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the fields of its option dataclasses as options of its own.

    Every parameter that is annotated with a dataclass is replaced by the dataclass's fields, which
    are packed again for the call.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: h for name, h in hints.items() if is_dataclass(h)}
    flat_parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        flat_parameters += _fields_of(groups[name]) if name in groups else [parameter]

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        packed = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **packed)

    flat.__signature__ = inspect.Signature(flat_parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {p.name: p.annotation for p in flat_parameters}
    return flat


def _fields_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    shown = getattr(group, "default_shown", None)
    if shown is not None:
        hints = {name: _showing(shown, hint) for name, hint in hints.items()}
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


def _showing(default: str, hint: Any) -> Any:
    """Return an option's annotation with another default in its help."""
    if not hasattr(hint, "__metadata__"):
        return hint
    option = copy.copy(hint.__metadata__[0])
    option.show_default = default
    return Annotated[hint.__origin__, option]
