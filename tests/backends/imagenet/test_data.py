import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from skdidicm_torch.imagenet.data import KilledWorkerError, collate, open_source  # noqa: E402
from skdidicm_torch.imagenet.feed import Feed  # noqa: E402
from skdidicm_torch.imagenet.processes import TorchCommunicator  # noqa: E402

from skdidicm.imagenet.order import TestOrder, TrainOrder  # noqa: E402
from skdidicm.pictures import BadPictureError  # noqa: E402

pytestmark = pytest.mark.imagenet


def places(world):
    return [TorchCommunicator(rank, world, torch.device("cpu")) for rank in range(world)]


def train_orders(n, size, world, epoch=0, start=0, seed=0, repeats=1):
    """Return the batches of every process as lists of (place in the epoch, row)."""
    found = []
    for place in places(world):
        order = TrainOrder(n, size, place, seed=seed, repeats=repeats)
        order.epoch, order.start = epoch, start
        batches = list(order)
        assert len(batches) == len(order)
        assert all(key[0] == epoch for batch in batches for key in batch)
        found.append([[key[1:] for key in batch] for batch in batches])
    return found


@pytest.mark.parametrize("world", [1, 2, 3])
def test_batches_of_all_processes_are_parts_of_the_epoch(world):
    n, size = 50, 4
    keys = [key for batches in train_orders(n, size, world) for batch in batches for key in batch]
    used = n // (size * world) * size * world
    assert sorted(place for place, _ in keys) == list(range(used))
    rows = [row for _, row in keys]
    assert len(set(rows)) == used
    assert set(rows) <= set(range(n))


def test_every_update_sees_the_same_views_however_many_processes_share_it():
    whole = train_orders(48, 12, 1)[0]
    for world in (2, 3, 4):
        shared = train_orders(48, 12 // world, world)
        for update, batch in enumerate(whole):
            together = [key for batches in shared for key in batches[update]]
            assert sorted(together) == batch


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [train_orders(40, 8, 1, **at) for at in ({}, {"epoch": 1}, {"seed": 1})]
    rows = [[row for batch in order[0] for _, row in batch] for order in orders]
    assert len({tuple(order) for order in rows}) == 3
    assert all(sorted(order) == list(range(40)) for order in rows)
    assert train_orders(40, 8, 1) == orders[0]


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("world", [1, 2])
def test_an_epoch_from_its_middle_is_the_tail_of_the_whole(repeats, world):
    whole = train_orders(60, 5, world, epoch=2, repeats=repeats)
    tail = train_orders(60, 5, world, epoch=2, repeats=repeats, start=2)
    assert tail == [batches[2:] for batches in whole]


def test_repeated_views_follow_each_other_and_an_epoch_keeps_its_length():
    n, repeats = 24, 3
    keys = [key for batch in train_orders(n, 4, 1, repeats=repeats)[0] for key in batch]
    rows = [row for _, row in sorted(keys)]
    assert len(rows) == n
    groups = np.array(rows).reshape(-1, repeats)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0])) == n // repeats
    seen = {
        row
        for epoch in range(20)
        for batch in train_orders(n, 4, 1, epoch=epoch, repeats=repeats)[0]
        for _, row in batch
    }
    assert seen == set(range(n))


def test_views_of_an_image_go_to_different_processes():
    keys = [[k for b in batches for k in b] for batches in train_orders(24, 4, 3, repeats=3)]
    rows = [{row for _, row in process} for process in keys]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 7, 16, 31])
def test_an_evaluation_takes_every_row_once(world, n):
    rows = [row for place in places(world) for batch in TestOrder(n, 4, place) for *_, row in batch]
    assert sorted(rows) == list(range(n))
    assert all(batch for place in places(world) for batch in TestOrder(n, 4, place))


def pixels(config, alone, epoch=0, start=0, n=2):
    batches = Feed(config, alone).train(epoch, start)
    return [next(batches) for _ in range(n)]


def test_pixels_do_not_depend_on_the_number_of_workers(settings, alone):
    expected = pixels(settings(recipe="strong", batch_size=16), alone)
    for workers in (1, 2):
        found = pixels(settings(recipe="strong", batch_size=16, workers=workers), alone)
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.pixels, b.pixels)
            assert torch.equal(a.labels, b.labels)


def test_pixels_from_the_middle_of_an_epoch_are_those_of_the_whole(settings, alone):
    config = settings(recipe="strong", batch_size=16)
    torch.rand(7), np.random.rand(3)  # the global generators play no part
    whole = pixels(config, alone, epoch=3, n=4)
    tail = pixels(config, alone, epoch=3, start=2)
    for a, b in zip(tail, whole[2:], strict=True):
        assert torch.equal(a.pixels, b.pixels)
    assert whole[0].pixels.dtype == torch.uint8
    assert whole[0].pixels.shape == (16, 3, 32, 32)


def test_reading_leaves_the_global_generators_alone(settings, alone):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    feed = Feed(settings(recipe="strong"), alone)
    feed._train.batches.dataset[0, 0, 0]
    assert torch.equal(torch.rand(3), expected)


def test_views_of_an_image_differ_from_each_other_and_between_epochs(settings, alone):
    feed = Feed(settings(), alone)
    views = [feed._train.batches.dataset[key][0] for key in ((0, 0, 5), (0, 1, 5), (1, 0, 5))]
    assert not any(np.array_equal(views[i], views[i - 1]) for i in range(3))


def test_a_share_of_the_data_is_that_share_of_every_class(settings, alone):
    feed = Feed(settings(data_ratio=0.5, batch_size=1, global_batch=1), alone)
    assert feed.n_train == 72
    labels = torch.cat([images.labels for images in feed.train(0, 0)])
    assert torch.bincount(labels).tolist() == [12] * 6


def test_validation_images_are_the_centre_of_the_whole_picture(settings, alone, photographs):
    from PIL import Image

    config = settings(crop=1.0, resolution=48)
    images = next(iter(Feed(config, alone).test()))
    expected = np.asarray(Image.open(photographs / "val/astronaut/00.jpg"))
    np.testing.assert_array_equal(images.pixels[0].permute(1, 2, 0), expected)
    assert images.labels[:7].tolist() == [0] * 6 + [1]


def test_a_source_can_be_sent_to_a_process_that_was_not_forked(settings):
    source = pickle.loads(pickle.dumps(open_source(settings(), "train")))
    picture, label = source.open(30)
    assert (picture.size, label) == ((48, 48), 1)


def test_a_batch_of_nothing_is_empty():
    images = collate([(None, 0, ["a is bad"]), (None, 0, ["b is bad"])])
    assert (len(images.labels), images.bad) == (0, ["a is bad", "b is bad"])


def broken(photographs, root, *names):
    """Copy the tree, and put half a picture in the place of some files."""
    shutil.copytree(photographs, root, dirs_exist_ok=True)
    for name in names:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])
    return root


def all_batches(feed):
    return [*feed.train(0, 0), *feed.test()]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", ["train/chelsea/03.jpg", "val/coffee/02.jpg"])
def test_a_bad_picture_ends_a_run_with_its_name(
    photographs, settings, alone, tmp_path, name, workers
):
    root = broken(photographs, tmp_path, name)
    feed = Feed(settings(data=str(root), workers=workers), alone)
    with pytest.raises(BadPictureError) as raised:
        all_batches(feed)
    assert str(raised.value).startswith(f"{root / name} cannot be read as a picture (")
    assert "\n" not in str(raised.value)


def test_a_bad_picture_that_is_skipped_is_replaced_by_its_neighbour(
    photographs, settings, alone, tmp_path
):
    root = broken(photographs, tmp_path, "train/chelsea/03.jpg")
    config = settings(data=str(root), on_bad_image="skip")
    images = list(Feed(config, alone).train(0, 0))
    assert [len(batch.labels) for batch in images] == [16] * 9
    bad = [name for batch in images for name in batch.bad]
    assert [name.split()[0] for name in bad] == [str(root / "train/chelsea/03.jpg")]
    row = 24 + 3
    place = next(
        key
        for batch in TrainOrder(144, 16, alone, seed=0, repeats=1)
        for key in batch
        if key[2] == row
    )
    dataset = Feed(config, alone)._train.batches.dataset
    assert np.array_equal(dataset[place][0], dataset[(*place[:2], row + 1)][0])


def test_more_bad_pictures_than_one_in_a_hundred_end_a_run(photographs, settings, alone, tmp_path):
    names = [f"train/chelsea/{i:02d}.jpg" for i in (3, 4)]
    root = broken(photographs, tmp_path, *names)
    feed = Feed(settings(data=str(root), on_bad_image="skip"), alone)
    with pytest.raises(BadPictureError, match="2 of 144 training pictures cannot be read, more"):
        all_batches(feed)


@pytest.mark.parametrize("what", ["missing", "empty", "unknown"])
def test_classes_that_training_and_validation_do_not_share_are_named(
    photographs, settings, alone, tmp_path, what
):
    root = broken(photographs, tmp_path)
    if what == "unknown":
        (root / "val/dog").mkdir()
    else:
        for file in (root / "val/rocket").iterdir():
            file.unlink()
    if what == "missing":
        (root / "val/rocket").rmdir()
    name = "dog" if what == "unknown" else "rocket"
    with pytest.raises(ValueError, match=f"{Path(root) / 'val'} has .* {name};"):
        Feed(settings(data=str(root)), alone)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_classes": 3}, "has 6 classes, and --n-classes is 3; pass the number"),
        ({"data": "/nowhere"}, "/nowhere has no folder train or training; expected"),
        ({"reader": "tar"}, "has no train.tar or training.tar; expected"),
    ],
)
def test_data_that_do_not_fit_end_with_a_sentence(settings, alone, changes, words):
    with pytest.raises((ValueError, OSError), match="expected|pass") as raised:
        Feed(settings(**changes), alone)
    assert words in str(raised.value)


def test_synthetic_batches_are_as_many_as_the_images_that_are_asked_for(settings, alone):
    config = settings(data="synthetic", n_images=100, n_classes=7)
    feed = Feed(config, alone)
    batches = list(feed.train(0, 2))
    assert (feed.per_epoch, len(batches), len(feed.classes)) == (6, 4, 7)
    assert batches[0].pixels.shape == (16, 3, 32, 32)
    assert int(batches[0].labels.max()) < 7


class Broken:
    """Batches of a loader whose process breaks off."""

    def __init__(self, error):
        self.error = error

    def __iter__(self):
        raise self.error
        yield


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        EOFError(),
        FileNotFoundError(2, "No such file or directory"),
        ConnectionResetError("Caught ConnectionResetError in pin memory thread\nand more"),
    ],
)
def test_a_connection_that_breaks_off_tells_of_a_killed_process(settings, alone, error):
    loader = Feed(settings(workers=1), alone).evaluation_batches()
    loader.batches = Broken(error)
    with pytest.raises(KilledWorkerError, match="a process that reads images was killed") as found:
        list(loader)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_living_process_stays_what_it_is(settings, alone, workers):
    error = OSError("Caught OSError in DataLoader worker process 0") if workers else OSError(5, "x")
    loader = Feed(settings(workers=workers), alone).evaluation_batches()
    loader.batches = Broken(error)
    with pytest.raises(OSError, match=r"Caught OSError|\[Errno 5\] x") as found:
        list(loader)
    assert found.value is error
