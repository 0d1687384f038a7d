"""One run on image folders: training in a locked run folder, from the start or resumed."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from skdidicm.imagenet import trainer as trainers
from skdidicm.imagenet.output import Output, check_own
from skdidicm.imagenet.recipes import Resolved
from skdidicm.imagenet.trainer import TrainingResult
from skdidicm.saving.run_folder import RunSettings, locked, write_settings


def train(resolved: Resolved, folder: Path, finish: Callable[[TrainingResult], object]) -> None:
    """Train or resume in a run folder, which no other process may write until `finish` returns.

    Only the first process calls `finish`.
    """
    trainer = trainers.get_trainer(resolved.config.backend)
    trainer.check(resolved.config)
    with ExitStack() as held:

        def claim() -> None:
            held.enter_context(locked(folder))
            check_own(folder)

        settings = RunSettings(resolved.config.plain(), resolved.origins)
        output = Output(folder, claim, begin=partial(write_settings, folder, settings))
        result = trainer.train(resolved.config, output)
        if result is not None:
            finish(result)
