"""Results of a study in a file of JSON lines, which a later run continues."""

import json
from pathlib import Path


def read(file):
    """Return the rows of a file; none where there is no file yet."""
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def append(file, *rows):
    """Add rows to the end of a file."""
    with Path(file).open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
