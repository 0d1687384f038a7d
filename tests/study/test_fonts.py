"""Drawings of characters, with the fonts that matplotlib brings."""

from pathlib import Path

import numpy as np
import pytest

from skdidicm.study.data import load
from skdidicm.study.fonts import kanji, load_fonts
from skdidicm.study.grid import Cell

LETTERS = "ABCDEFGH"


@pytest.fixture(scope="module")
def fonts():
    pytest.importorskip("PIL")
    matplotlib = pytest.importorskip("matplotlib")
    return Path(matplotlib.get_data_path(), "fonts", "ttf")


def test_every_class_has_a_share_of_its_drawings_in_the_test_rows(fonts):
    split, again, other = (load_fonts(seed, LETTERS, fonts) for seed in (0, 0, 1))
    assert split.class_names == tuple(LETTERS)
    assert split.X_train.shape[1:] == (48, 48)
    assert split.X_train.dtype == np.uint8
    train, test = np.bincount(split.y_train), np.bincount(split.y_test)
    assert ((test >= 1) & (np.abs(test - 0.3 * (train + test)) <= 0.5)).all()
    np.testing.assert_array_equal(split.X_test, again.X_test)
    assert not np.array_equal(split.X_test, other.X_test)


def test_no_drawing_is_in_both_parts_nor_nearly_the_same_for_a_whole_typeface(fonts):
    split = load_fonts(0, LETTERS, fonts)
    train = {x.tobytes() for x in split.X_train}
    shared = [x.tobytes() in train for x in split.X_test]
    assert np.mean(shared) < 0.1  # two typefaces may share a letter


def test_by_typeface_every_character_is_tested_with_the_same_typefaces(fonts):
    split = load_fonts(0, LETTERS, fonts, by_typeface=True)
    counts = np.bincount(split.y_test)
    assert (counts == counts[0]).all()
    assert counts[0] == round(0.3 * (counts[0] + np.bincount(split.y_train)[0]))


def test_a_character_that_a_font_lacks_is_no_drawing_of_it(fonts):
    """Only a few of matplotlib's fonts have Cyrillic; none draws its mark for a missing one."""
    both, cyrillic = "ABCD\u0436\u0444", load_fonts(0, "\u0436\u0444", fonts)
    split = load_fonts(0, both, fonts)
    latin, other = (np.bincount([*split.y_train, *split.y_test])[i] for i in (0, 4))
    assert other < latin
    assert len(np.unique(cyrillic.X_train.reshape(len(cyrillic.X_train), -1), axis=0)) > 3


def test_without_fonts_a_sentence_says_what_to_install(fonts, tmp_path):
    with pytest.raises(ValueError, match="has no font with these characters; install some"):
        load_fonts(0, LETTERS, tmp_path)
    with pytest.raises(ValueError, match="has no font with these characters"):
        load_fonts(0, kanji(5), fonts)
    (tmp_path / "one.ttf").write_bytes((fonts / "DejaVuSans.ttf").read_bytes())
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match="fewer than 4 typefaces for 8 of 8 characters, such as A"):
        load_fonts(0, LETTERS, tmp_path)


def test_kanji_are_distinct_and_within_the_standard():
    for n in (2, 10, 1000, 2965):
        found = kanji(n)
        assert len(set(found)) == n
        assert all("\u4e00" <= text <= "\u9fff" for text in found)
    for n in (1, 2966):
        with pytest.raises(ValueError, match=f"^{n} characters are asked for; expected 2 to 2965"):
            kanji(n)


def test_a_study_reads_the_number_of_classes(monkeypatch):
    asked = []

    def loaded(seed, characters, *, by_typeface):
        asked.append((seed, len(characters), by_typeface))
        raise LookupError

    monkeypatch.setattr("skdidicm.study.data.load_fonts", loaded)
    for data in ("fonts", "fonts:10", "typefaces:1000"):
        with pytest.raises(LookupError):
            load(Cell(data, None, 0.0, None, 3, "didicm"))
    assert asked == [(3, 100, False), (3, 10, False), (3, 1000, True)]
    with pytest.raises(ValueError, match=r"^data is 'fonts:x'; expected one of"):
        load(Cell("fonts:x", None, 0.0, None, 3, "didicm"))
