"""`skdidicm evaluate imagenet`: evaluate a run with other settings."""

from pathlib import Path
from typing import Annotated

import typer

from skdidicm.cli.console import print_json, print_scores, print_table, say
from skdidicm.cli.imagenet import EvaluationOptions
from skdidicm.cli.options import expand, given


@expand
def evaluate_imagenet(
    *,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a checkpoint.")],
    settings: EvaluationOptions,
    corrupt: Annotated[
        str | None,
        typer.Option(help="Corrupt the pictures: NAME:SEVERITY of ImageNet-C, such as fog:3."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw the accuracy at every step to this file.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Test a run on its validation images: other sampler, steps, data or corruption."""
    from skdidicm.imagenet.checkpoint import locate, read_settings
    from skdidicm.imagenet.trainer import get_trainer

    checkpoint = locate(run)
    trainer = get_trainer(read_settings(checkpoint).backend)
    result = trainer.evaluate(checkpoint, given(settings), corrupt=corrupt)
    if result is None:
        return
    figures = result.metrics
    if json:
        changes = {**given(settings), "corrupt": corrupt}
        print_json({"checkpoint": str(checkpoint), "settings": changes, "metrics": figures})
    else:
        print_scores(f"{checkpoint}, {figures['n_images']} images", figures)
        steps = enumerate(zip(figures["accuracy_by_step"], figures["nll_by_step"], strict=True))
        rows = [(str(i), f"{100 * a:.1f}%", f"{nll:.3f}") for i, (a, nll) in steps]
        print_table(None, ("Step", "Accuracy", "NLL"), rows, numbers=2)
    if result.bad_images:
        say(f"{len(result.bad_images)} pictures could not be read and were left out.")
    if picture is not None:
        from skdidicm.plotting.steps import draw_by_step

        drawn = draw_by_step(figures["accuracy_by_step"], figures["nll_by_step"])
        drawn.savefig(picture, dpi=120)
