"""The settings that all cells in the folder of a study share."""

import json
from pathlib import Path
from typing import Any

from skdidicm.saving.model_file import write_atomically

NAME = "settings.json"


def check_or_write(folder: Path, settings: dict[str, Any], *, begun: bool) -> None:
    """Write the settings into the folder, or check that the study there was begun with the same.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    settings : dict
        Everything but the cells that decides the rows. Values that JSON cannot hold are written as
        text.
    begun : bool
        Whether the study has rows. If it has none, its settings are replaced. If it has rows but
        no settings, as older studies do, the settings are written without a check.

    Raises
    ------
    ValueError
        If the rows were made with other settings.
    """
    path, text = folder / NAME, json.dumps(settings, indent=2, default=str) + "\n"
    if not begun or not path.is_file():
        write_atomically(path, text.encode())
        return
    there, wanted = _read(path), json.loads(text)
    names = [name for name in (there | wanted) if there.get(name) != wanted.get(name)]
    if names:
        raise ValueError(
            f"the study in {folder} was begun with {_text(there, names)}, not "
            f"{_text(wanted, names)}; use the same settings, or choose another folder."
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it from a copy, or choose another folder."
        ) from error
    return content


def _text(settings: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {json.dumps(settings.get(name, 'auto'))}" for name in names)
