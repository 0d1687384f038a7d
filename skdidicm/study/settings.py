"""What all cells of a study's folder share, and no cell says."""

import json
from pathlib import Path
from typing import Any

NAME = "settings.json"


def agree(folder: Path, settings: dict[str, Any], *, begun: bool) -> None:
    """Write the settings into the folder, or find there that the study was begun with the same.

    Parameters
    ----------
    folder : Path
        Of the study.
    settings : dict
        Whatever decides the rows beside the cells. What JSON has no form for is written as text.
    begun : bool
        Whether there are rows yet. Settings without any are replaced, and rows without settings,
        of older studies, taken on trust.

    Raises
    ------
    ValueError
        If there are rows of other settings.
    """
    path, text = folder / NAME, json.dumps(settings, indent=2, default=str) + "\n"
    if not begun or not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    there, wanted = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
    names = [name for name in (there | wanted) if there.get(name) != wanted.get(name)]
    if names:
        raise ValueError(
            f"the study in {folder} was begun with {_text(there, names)}, not "
            f"{_text(wanted, names)}; go on with the same or take another folder."
        )


def _text(settings: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {json.dumps(settings.get(name, 'auto'))}" for name in names)
