"""`skdidicm train imagenet` and `evaluate imagenet`: runs on folders of pictures."""

import math
import os
from collections.abc import Iterable
from dataclasses import Field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skdidicm.cli.console import is_first, print_json, print_scores, print_table, say
from skdidicm.cli.options import expand, given
from skdidicm.imagenet.config import AT_EVALUATION, SETTINGS
from skdidicm.saving import run_folder

if TYPE_CHECKING:
    from skdidicm.imagenet.recipes import Resolved


_ALIASES = {
    "learning_rate": ("--learning-rate", "--lr"),
    "batch_size": ("--batch-size", "-b"),
}  # that users of timm type


def _option(setting: "Field[Any]") -> tuple[str, Any, Any]:
    """Return an option for a setting of a run; None means that the user has not set it."""
    about = setting.metadata
    shown = about["shown"] or ("none" if setting.default == "" else str(setting.default))
    kind: Any = setting.type
    if kind is bool:
        shown = "yes" if setting.default else "no"
    option = typer.Option(
        *_ALIASES.get(setting.name, ()),
        help=about["help"],
        show_default=shown,
        rich_help_panel=about["panel"],
    )
    return setting.name, Annotated[kind | None, option], None


def _options(name: str, settings: Iterable["Field[Any]"]) -> Any:
    return make_dataclass(name, [_option(s) for s in settings], kw_only=True, frozen=True)


RunOptions: Any = _options("RunOptions", SETTINGS.values())
EvaluationOptions: Any = _options("EvaluationOptions", (SETTINGS[n] for n in AT_EVALUATION))


@expand
def train(
    *,
    settings: RunOptions,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; options given here come first.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/imagenet-DATE-TIME")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every setting and its origin, and end.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    pretrained: Annotated[bool, typer.Option("--pretrained", hidden=True)] = False,
    initial_checkpoint: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Train on a folder of pictures by the recipes of the paper, for ImageNet and the like.

    For your own pictures, 'train folder' is simpler: it can start from a pretrained network, needs
    no val folder, and suits few pictures. Fewer than one batch of pictures get smaller batches
    here.

    Under torchrun it uses every device: torchrun --nproc-per-node=8 -m skdidicm train imagenet ...
    """
    from skdidicm.imagenet.recipes import resolve
    from skdidicm.saving import image_run

    if pretrained or initial_checkpoint is not None:
        raise typer.BadParameter(
            "the recipes start from random weights; for a pretrained network use: skdidicm train "
            "folder DIR --backbone NAME --pretrained"
        )
    resolved = resolve(given(settings), config)
    if dry_run:
        _print_settings(resolved, json=json)
        return
    if not resolved.config.data:
        raise ValueError("--data is missing; expected a folder with train/ and val/, or synthetic.")
    resolved = _fitted(resolved)
    folder = output or run_folder.default_folder("imagenet")
    image_run.train(resolved, folder, lambda result: _finish(folder, result.checkpoint, json=json))


def _fitted(resolved: "Resolved") -> "Resolved":
    """Return settings whose batches the folder's pictures fill, and say what has changed."""
    from skdidicm.folders import count, find_split
    from skdidicm.imagenet.recipes import fitted

    config = resolved.config
    if config.data == "synthetic" or config.reader:
        return resolved
    most = math.ceil(config.global_batch / config.data_ratio)
    n = int(count(find_split(Path(config.data), "train"), most) * config.data_ratio)
    found = fitted(resolved, n, int(os.environ.get("WORLD_SIZE", "1")))
    if found is not resolved and is_first():
        now = found.config
        say(
            f"{n} training images do not fill a batch of {config.global_batch}, so --global-batch "
            f"is {now.global_batch} and --batch-size {now.batch_size}; skdidicm train folder is "
            "made for so few."
        )
    return found


def _finish(folder: Path, checkpoint: Path, *, json: bool) -> None:
    """Write metrics.json and model.skd of the last checkpoint, and print the figures."""
    from skdidicm import DiDiClassifier
    from skdidicm.imagenet.checkpoint import read
    from skdidicm.saving.from_checkpoint import model_of_checkpoint, record_of_checkpoint

    saved = read(checkpoint)
    record = record_of_checkpoint(saved)
    DiDiClassifier._of_model(model_of_checkpoint(saved)).save(folder / run_folder.MODEL)
    run_folder.write_record(folder, record)
    if json:
        print_json({"output": str(folder), **record.plain()})
    else:
        metrics = dict(record.metrics or {})
        print_scores(f"imagenet, {metrics['n_images']} images", metrics)
    say(f"Written to {folder}")


def _print_settings(resolved: "Resolved", *, json: bool) -> None:
    values = resolved.config.plain()
    if json:
        print_json({k: {"value": v, "origin": resolved.origins[k]} for k, v in values.items()})
        return
    rows = [(name, str(value), resolved.origins[name]) for name, value in values.items()]
    print_table(None, ("Setting", "Value", "From"), rows)
