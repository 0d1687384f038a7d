"""Pictures as the Keras trainer reads them."""

import itertools
import shutil

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)
pytest.importorskip("PIL")
pytest.importorskip("skimage")

from skdidicm_keras.imagenet.feed import Feed
from skdidicm_keras.imagenet.processes import KerasCommunicator
from skdidicm_keras.imagenet.views import evaluation_view, random_box, training_view

from skdidicm.pictures import BadPictureError, open_picture

pytestmark = pytest.mark.imagenet
ALONE = KerasCommunicator("cpu")


def batches(config, epoch=0, start=0, n=2, place=ALONE):
    found = Feed(config, place).train(epoch, start)
    return [next(found) for _ in range(n)]


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_pixels_do_not_depend_on_the_number_of_workers(settings):
    expected = batches(settings(repeats=3), n=9)
    assert expected[0].pixels.shape == (16, 32, 32, 3)
    assert expected[0].pixels.dtype == np.uint8
    for workers in (1, 3):
        assert_equal(batches(settings(repeats=3, workers=workers), n=9), expected)


def test_pixels_from_the_middle_of_an_epoch_are_those_of_the_whole(settings):
    assert_equal(batches(settings(), start=3), batches(settings(), n=5)[3:])


def test_epochs_and_seeds_have_views_of_their_own(settings):
    found = [batches(settings(), n=1), batches(settings(), 1, n=1), batches(settings(seed=1), n=1)]
    pixels = [one[0].pixels for one in found]
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(pixels))


def test_the_same_pictures_come_however_many_devices_share_a_pass(settings):
    together = batches(settings(batch_size=8), place=KerasCommunicator("cpu", devices=2))
    assert_equal(together, batches(settings()))


def test_every_validation_picture_is_seen_once_as_it_is(settings, photographs):
    config = settings(crop=1)
    found = list(Feed(config, ALONE).test())
    assert sum(len(one.labels) for one in found) == 31
    paths = sorted((photographs / "val").rglob("*.jpg"))
    picture = open_picture(str(paths[0]), "")
    expected = np.asarray(picture.resize((32, 32), 3))  # bicubic
    np.testing.assert_array_equal(found[0].pixels[0], expected)


def test_the_centre_is_what_timm_cuts_out(settings, photographs):
    pytest.importorskip("timm")
    from skdidicm_torch.imagenet.timm_parts import evaluation_transform

    config = settings()
    picture = open_picture(str(next((photographs / "val").rglob("*.jpg"))), "").resize((70, 51))
    expected = np.moveaxis(np.asarray(evaluation_transform(config)(picture)), 0, -1)
    np.testing.assert_array_equal(evaluation_view(config)(picture, None), expected)


def test_random_boxes_have_the_asked_shares_and_aspects(rng):
    width, height = 400, 300
    boxes = np.array([random_box(width, height, 0.25, rng) for _ in range(4000)])
    left, upper, right, lower = boxes.T
    assert (left >= 0).all()
    assert (upper >= 0).all()
    assert (right <= width).all()
    assert (lower <= height).all()
    w, h = right - left, lower - upper
    assert (w / h).min() > 0.74
    assert (w / h).max() < 1.35
    share = w * h / (width * height)
    assert 0.245 < share.min() < 0.27
    # Small boxes fit always, so that their share is uniform; they lie anywhere.
    small = share < 0.4
    assert np.mean(share[small] < 0.325) == pytest.approx(0.5, abs=0.06)
    assert np.mean(left[small] / (width - w[small])) == pytest.approx(0.5, abs=0.05)


def test_a_box_that_fits_nowhere_is_the_centre(rng):
    assert random_box(1000, 10, 1.0, rng) == (493, 0, 506, 10)
    assert random_box(10, 1000, 1.0, rng) == (0, 493, 10, 506)


def test_a_training_view_is_a_part_of_the_picture(settings):
    from PIL import Image

    rng = np.random.default_rng(1)
    flat = Image.new("RGB", (90, 60), (10, 200, 30))
    pixels = training_view(settings())(flat, rng)
    assert pixels.shape == (32, 32, 3)
    assert (pixels == [10, 200, 30]).all()


@pytest.fixture
def damaged(photographs, tmp_path):
    """The same pictures, one of which is cut off."""
    root = shutil.copytree(photographs, tmp_path / "data")
    path = root / "train/coffee/07.jpg"
    path.write_bytes(path.read_bytes()[:300])
    return root, path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_ends_a_run_or_is_replaced(settings, damaged, workers):
    root, path = damaged
    change = {"data": str(root), "workers": workers}
    with pytest.raises(BadPictureError, match=f"{path} cannot be read"):
        batches(settings(**change), n=9)
    found = batches(settings(**change, on_bad_image="skip"), n=9)
    assert [len(one.labels) for one in found] == [16] * 9
    assert next(name for one in found for name in one.bad).startswith(str(path))


def test_synthetic_batches_are_as_many_as_the_images_make(settings):
    feed = Feed(settings(data="synthetic", n_images=100, n_classes=5), ALONE)
    found = list(feed.train(0, 2))
    assert len(found) == 100 // 16 - 2
    assert found[0].labels.max() < 5
