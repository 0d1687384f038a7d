import pytest

from skdidicm.imagenet import grid
from skdidicm.imagenet.grid import Cell


def test_the_paper_has_eighteen_settings_each_with_and_without_diffusion():
    cells = grid.plan()
    assert len(set(cells)) == len(cells) == 36
    assert len({cell.setting for cell in cells}) == 18
    for setting in {cell.setting for cell in cells}:
        assert {cell.objective for cell in cells if cell.setting == setting} == {
            "cross-entropy",
            "score-entropy",
        }


def test_names_of_run_folders_are_unique():
    names = [cell.name for cell in grid.plan((224, 56), (1.0, 0.5, 0.25, 0.125))]
    assert len(set(names)) == len(names)
    assert not any("/" in name for name in names)


@pytest.mark.parametrize(
    ("wanted", "n"),
    [
        ("*", 36),
        ("56", 12),
        ("56:0.25", 4),
        ("56:.25:weak", 2),
        ("*:*:strong:cross-entropy", 9),
        ("::weak", 18),
        ("224:1, 56:0.25:weak:score-entropy", 5),
        ("56,56:0.25", 12),
    ],
)
def test_patterns_keep_the_cells_that_they_fit(wanted, n):
    kept = grid.select(grid.plan(), wanted)
    assert len(kept) == n
    assert kept == [cell for cell in grid.plan() if cell in kept]  # in the order of the plan


def test_a_pattern_means_what_its_parts_say():
    assert grid.select(grid.plan(), "112:0.5:strong:score-entropy") == [
        Cell(112, 0.5, "strong", "score-entropy")
    ]


@pytest.mark.parametrize("wanted", ["57", "56:0.3", "56:weak", "56:0.25:weak:cross-entropy:1"])
def test_a_pattern_that_fits_nothing_is_an_error_that_names_what_would(wanted):
    with pytest.raises(ValueError, match="56:0.25:weak") as caught:
        grid.select(grid.plan(), wanted)
    assert "224/112/56" in str(caught.value)
