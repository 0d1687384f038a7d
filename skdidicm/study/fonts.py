"""A task of many classes with few pictures each: Japanese characters in the installed typefaces.

A class is a character, a row one typeface's drawing of it. Nothing is downloaded: Pillow renders
the fonts of the system, on Debian those of fonts-ipafont, fonts-takao, fonts-kiloji, fonts-seto,
fonts-aoyagi-soseki, fonts-kouzan-mouhitsu, fonts-horai-umefont and others.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skdidicm.datasets import Split

SIZE = 48
"""Height and width of the drawings, which `--resolution` 8, 12, 16 or 24 averages in blocks."""

_FOLDER = Path("/usr/share/fonts")
_SUFFIXES = {".ttf", ".otf", ".ttc"}
_TEST = 0.3  # share of the drawings of a character, or of the typefaces
_FEWEST = 4  # typefaces: at least one to test on and three to learn from
_ALIKE = 0.9  # correlation of the pixels from which two typefaces count as one
_COMPARED = 40  # characters by which typefaces are compared
_ABSENT = "\U0010fffe"  # no character, so a font draws its mark for a missing one

Pixels = NDArray[np.uint8]


def kanji(n: int) -> list[str]:
    """Return n kanji, spread evenly over the 2,965 of the first level of JIS X 0208.

    Examples
    --------
    >>> kanji(3)
    ['亜', '済', '釘']
    """
    codes = ((row, cell) for row in range(0xB0, 0xD0) for cell in range(0xA1, 0xFF))
    known = [text for code in codes if (text := bytes(code).decode("euc_jp", "ignore"))]
    if not 2 <= n <= len(known):
        raise ValueError(f"{n} characters are asked for; expected 2 to {len(known)}.")
    return [known[i * len(known) // n] for i in range(n)]


def load_fonts(
    seed: int = 0,
    characters: Sequence[str] | None = None,
    folder: Path | None = None,
    *,
    by_typeface: bool = False,
) -> Split:
    """Return drawings of characters, labelled by character.

    Fonts that lack some of the characters are used for the others. Of fonts that draw nearly the
    same, only the first is used.

    Parameters
    ----------
    seed : int, default=0
        Decides which drawings are test rows.
    characters : sequence of str, optional
        The classes, by default 100 kanji.
    folder : Path, optional
        Folder with fonts, at any depth, by default /usr/share/fonts.
    by_typeface : bool, default=False
        Whether all drawings in 30% of the typefaces are the test rows, instead of 30% of the
        drawings of each character.

    Returns
    -------
    Split
        Pictures (n, 48, 48) of uint8, ordered by class; the ink is 255.

    Raises
    ------
    ValueError
        If fewer than four typefaces, or for some character fewer than four, are found.
    """
    characters = kanji(100) if characters is None else characters
    folder = folder or _FOLDER
    drawings, drawn = _typefaces(folder, tuple(characters))
    poor = [c for c, n in zip(characters, drawn.sum(axis=0), strict=True) if n < _FEWEST]
    if poor:
        raise ValueError(
            f"{folder} has fewer than {_FEWEST} typefaces for {len(poor)} of {len(characters)} "
            f"characters, such as {poor[0]}; install more fonts, on Debian for example "
            "fonts-ipafont, fonts-kiloji, fonts-seto and fonts-horai-umefont."
        )
    rng = np.random.default_rng(seed)
    rank = rng.permuted(np.tile(np.arange(len(drawn)), (len(characters), 1)), axis=1).T
    if by_typeface:
        rank[:] = rng.permutation(len(drawn))[:, None]
        tested = rank < max(1, round(_TEST * len(drawn)))
    else:
        rank[~drawn] = len(drawn)
        place = rank.argsort(axis=0).argsort(axis=0)
        tested = place < np.maximum(1, np.round(_TEST * drawn.sum(axis=0)))
    x, y = zip(*(_rows(drawings, rows) for rows in (drawn & ~tested, drawn & tested)), strict=True)
    return Split(x[0], y[0], x[1], y[1], tuple(characters))


def _rows(drawings: Pixels, rows: NDArray[np.bool_]) -> tuple[Pixels, NDArray[np.int64]]:
    """Return some of the drawings and their labels, ordered by class."""
    label, face = np.nonzero(rows.T)
    return drawings[face, label], label.astype(np.int64)


@functools.lru_cache(maxsize=1)  # other seeds split the same drawings
def _typefaces(folder: Path, characters: tuple[str, ...]) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return drawings (typefaces, characters, size, size) and which of them exist."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES)
    found = [_drawn(file, characters) for file in files if not file.is_symlink()]
    kept = [(pixels, drawn) for pixels, drawn in found if drawn.mean() > 0.5]
    if not kept:
        raise ValueError(
            f"{folder} has no font with these characters; install some, on Debian for example "
            "fonts-ipafont, fonts-kiloji, fonts-seto and fonts-horai-umefont."
        )
    pixels, drawn = zip(*kept, strict=True)
    return _distinct(np.stack(pixels), np.stack(drawn))


def _drawn(file: Path, characters: Sequence[str]) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return a font's drawings (characters, size, size) and which of them exist."""
    from PIL import Image, ImageDraw, ImageFont

    def draw(text: str) -> Pixels:
        picture = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(picture).text((SIZE / 2, SIZE / 2), text, 255, font, anchor="mm")
        return np.asarray(picture)

    try:
        font = ImageFont.truetype(str(file), round(0.9 * SIZE))
        pixels = np.stack([draw(text) for text in (*characters, _ABSENT)])
    except OSError:  # damaged, or with bitmaps of other sizes only
        return np.zeros((len(characters), SIZE, SIZE), np.uint8), np.zeros(len(characters), bool)
    # A font may draw one mark for all characters that it lacks, or for all of a script.
    times = Counter(picture.tobytes() for picture in pixels)
    alone = [bool(picture.any()) and times[picture.tobytes()] == 1 for picture in pixels[:-1]]
    return pixels[:-1], np.array(alone)


def _distinct(drawings: Pixels, drawn: NDArray[np.bool_]) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return the typefaces without those that are nearly the same as an earlier one."""
    some = np.linspace(0, drawn.shape[1] - 1, min(_COMPARED, drawn.shape[1])).astype(int)
    flat = drawings[:, some].reshape(len(drawings), -1).astype(np.float32)
    alike = np.atleast_2d(np.corrcoef(flat))
    kept: list[int] = []
    for face in range(len(drawings)):
        if not (alike[face, kept] > _ALIKE).any():
            kept.append(face)
    return drawings[kept], drawn[kept]
