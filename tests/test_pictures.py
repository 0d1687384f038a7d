import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skdidicm.pictures import MAX_PIXELS, BadPictureError, Pictures, open_picture

Image = pytest.importorskip("PIL.Image")

RAMP = np.linspace(0, 255, 12 * 20).astype(np.uint8).reshape(12, 20)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def opened(picture, kind, **options):
    """Write a picture to memory and return it as the trainer reads it, as an array."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return np.asarray(read(file.getvalue()))


def read(content):
    picture = open_picture(io.BytesIO(content), "a.file")
    assert picture.mode == "RGB"
    return picture


def jpeg(**options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG", **options)
    return file.getvalue()


def test_rgb_is_read_as_it_is():
    np.testing.assert_array_equal(opened(Image.fromarray(COLOURS), "PNG"), COLOURS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_upper_eight(kind):
    deep = RAMP.astype(np.uint16) * 256 + 77
    found = opened(Image.fromarray(deep), kind)
    np.testing.assert_array_equal(found, np.repeat(RAMP[:, :, None], 3, axis=2))


@pytest.mark.parametrize("white", [255, 65535])
def test_grey_of_32_bits_is_as_bright_as_8_or_16_bits(white):
    deep = RAMP.astype(np.int32) * (white // 255)
    found = opened(Image.fromarray(deep), "TIFF")
    np.testing.assert_array_equal(found, np.repeat(RAMP[:, :, None], 3, axis=2))


@pytest.mark.parametrize("bad", [-1, 65536, 2**31 - 1])
def test_grey_of_32_bits_in_another_range_is_bad(bad):
    values = RAMP.astype(np.int32)
    values[3, 4] = bad
    with pytest.raises(BadPictureError, match="expected 0 to 255 or 0 to 65535"):
        opened(Image.fromarray(values), "TIFF")


@pytest.mark.parametrize("white", [1, 255])
def test_floating_point_pictures_are_scaled_to_255(white):
    stored = Image.fromarray(RAMP.astype(np.float32) * (white / 255))
    np.testing.assert_array_equal(opened(stored, "TIFF"), np.repeat(RAMP[:, :, None], 3, axis=2))


@pytest.mark.parametrize("bad", [np.nan, -0.5, 256, np.inf])
def test_floating_point_pictures_of_another_range_are_bad(bad):
    values = RAMP.astype(np.float32)
    values[3, 4] = bad
    with pytest.raises(BadPictureError, match="expected 0 to 1 or 0 to 255"):
        opened(Image.fromarray(values), "TIFF")


@pytest.mark.parametrize("mode", ["L", "RGBA"])
@pytest.mark.parametrize("stored", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_a_picture_is_converted_to_the_mode_that_is_asked_for(stored, mode):
    grey = (RAMP > 100).astype(np.uint8) * 255
    if stored == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    elif stored == "F":
        picture = Image.fromarray(grey.astype(np.float32))
    else:
        picture = Image.fromarray(grey).convert("RGB").convert(stored)
    file = io.BytesIO()
    picture.save(file, "TIFF")
    found = open_picture(file, "a.file", mode)
    assert found.mode == mode
    values = np.asarray(found) if mode == "L" else np.asarray(found)[..., 0]
    np.testing.assert_array_equal(values, grey)


def test_alpha_is_kept_where_it_is_asked_for():
    file = io.BytesIO()
    colours = Image.fromarray(COLOURS).convert("RGBA")
    colours.putalpha(Image.fromarray(RAMP))
    colours.save(file, "PNG")
    np.testing.assert_array_equal(np.asarray(open_picture(file, "a.file", "RGBA"))[..., 3], RAMP)


def test_grey_and_black_and_white_become_equal_channels():
    np.testing.assert_array_equal(opened(Image.fromarray(RAMP), "PNG"), np.stack([RAMP] * 3, 2))
    found = opened(Image.fromarray(RAMP > 100), "PNG")
    np.testing.assert_array_equal(found, np.stack([(RAMP > 100) * 255] * 3, 2))


def test_cmyk_becomes_the_colours_that_it_prints():
    flat = np.full((16, 16, 4), (0, 255, 255, 0), np.uint8)  # magenta and yellow ink: red
    found = opened(Image.fromarray(flat, "CMYK"), "JPEG", quality=100)
    assert np.abs(found.astype(int) - (255, 0, 0)).max() <= 4


def test_a_palette_with_transparency_becomes_its_colours():
    palette = Image.fromarray((np.arange(16).reshape(4, 4) % 2).astype(np.uint8), "P")
    palette.putpalette([200, 10, 20, 30, 40, 250])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PIL warns where transparency is dropped carelessly
        found = opened(palette, "PNG", transparency=bytes([128, 255]))
    assert {tuple(pixel) for pixel in found.reshape(-1, 3)} == {(200, 10, 20), (30, 40, 250)}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(mode):
    picture = Image.fromarray(COLOURS).convert(mode)
    picture.putalpha(100)
    expected = np.asarray(Image.fromarray(COLOURS).convert("L" if mode == "LA" else "RGB"))
    if mode == "LA":
        expected = np.stack([expected] * 3, 2)
    np.testing.assert_array_equal(opened(picture, "PNG"), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_picture_is_upright_whatever_its_mode(mode, orientation, turn):
    if mode == "I;16":
        stored = Image.fromarray(RAMP.astype(np.uint16) * 256)
    else:
        stored = Image.fromarray(RAMP).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = opened(stored, "PNG", exif=exif.tobytes())
    np.testing.assert_array_equal(found[..., 0], np.rot90(RAMP, turn))


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200)]
    found = opened(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (found == 10).all()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_truncated_picture_is_bad(share):
    content = jpeg(quality=95)
    with pytest.raises(BadPictureError, match="^a.file cannot be read as a picture"):
        read(content[: int(len(content) * share)])


def test_a_truncated_png_is_bad():
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "PNG")
    with pytest.raises(BadPictureError, match="replace or remove it"):
        read(file.getvalue()[:-40])


def with_exif():
    exif = Image.Exif()
    exif[0x010E] = "a description"
    exif[0x0112] = 6
    return jpeg(exif=exif.tobytes())


def test_every_truncated_jpeg_is_named_and_nothing_else_is_said():
    """Cut within the header and EXIF after every byte; warnings are errors in tests."""
    content = with_exif()
    start = content.index(b"\xff\xda")  # of the pixels
    for n in range(start):
        with pytest.raises(BadPictureError, match="^a.file cannot be read as a picture"):
            read(content[:n])


def test_broken_exif_is_ignored_without_a_warning():
    content = with_exif()
    entries = content.index(b"Exif") + 14
    for n in (0, 3, 50, 255):
        broken = content[:entries] + bytes([0, n]) + content[entries + 2 :]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert read(broken).size
        assert caught == []


def test_threads_do_not_change_the_filters_of_warnings():
    before = list(warnings.filters)
    content = with_exif()
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("ignore")
        inside = list(warnings.filters)
        list(pool.map(read, [content] * 50))
        assert warnings.filters == inside
    assert warnings.filters == before


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\xff\xd8\xff", bytes(1000)])
def test_what_is_no_picture_is_bad(content):
    with pytest.raises(BadPictureError, match="^a.file cannot be read as a picture") as raised:
        read(content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("file", ["none.png", "."])
def test_what_is_no_file_is_bad(tmp_path, file):
    with pytest.raises(BadPictureError, match="cannot be read as a picture"):
        open_picture(str(tmp_path / file), "a.file")


def bomb(width, height):
    """Return a PNG file that claims a size and holds hardly a pixel."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [12_000, 20_000, 2**30])
def test_a_decompression_bomb_is_bad_and_not_opened(side):
    with pytest.raises(BadPictureError, match="^a.file ") as raised:
        read(bomb(side, side))
    assert side * side > MAX_PIXELS
    assert any(word in str(raised.value) for word in ("bomb", "fill the memory"))


class TestPictures:
    @pytest.fixture
    def files(self, tmp_path):
        rng = np.random.default_rng(0)
        names = []
        for i in range(5):
            pixels = rng.integers(0, 256, (24 + i, 30, 3), dtype=np.uint8)
            names.append(tmp_path / f"{i}.png")
            Image.fromarray(pixels).save(names[-1])
        return names

    def test_only_what_is_indexed_is_decoded(self, files):
        files[0].unlink()
        pictures = Pictures(files, 16)
        assert pictures.shape == (5, 16, 16, 3)
        assert pictures[3:].shape == (2, 16, 16, 3)
        np.testing.assert_array_equal(pictures.take([4, 2])[:], pictures[[4, 2]])
        np.testing.assert_array_equal(pictures[[4, 2]][0], pictures[-1])
        with pytest.raises(BadPictureError, match=r"0\.png"):
            np.asarray(pictures)

    def test_files_and_opened_pictures_are_the_same(self, files):
        opened = [Image.open(file) for file in files]
        np.testing.assert_array_equal(Pictures(files, 16)[:], Pictures(opened, 16)[:])

    def test_an_opened_picture_may_stand_in_many_rows(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        expected = Pictures([tmp_path / "a.png"], 8)[0]
        for _ in range(10):
            with Image.open(tmp_path / "a.png") as opened:
                assert (Pictures([opened] * 16, 8)[:] == expected).all()

    def test_the_centre_is_taken(self):
        wide = np.zeros((8, 24, 3), np.uint8)
        wide[:, 8:16] = 255
        found = Pictures([Image.fromarray(wide)], 8)[:]
        assert found[0, :, 2:-2].min() == 255

    @pytest.mark.parametrize("shape", [(1, 2**20, 3), (2**20, 1, 3)])
    def test_a_strip_takes_no_more_memory_than_another_picture(self, shape, monkeypatch):
        sizes, resize = [], Image.Image.resize

        def counted(picture, size, *arguments):
            sizes.append(size)
            return resize(picture, size, *arguments)

        monkeypatch.setattr(Image.Image, "resize", counted)
        strip = np.zeros(shape, np.uint8)
        strip.reshape(-1, 3)[2**19 - 9 : 2**19 + 9] = 255
        assert Pictures([Image.fromarray(strip)], 32)[:].min() == 255
        assert max(sizes[0]) <= 66 * 32

    def test_the_size_of_16_bit_pictures_and_the_order_of_rows_are_kept(self, tmp_path):
        deep = np.full((9, 9), 2**15, np.uint16)
        Image.fromarray(deep).save(tmp_path / "a.png")
        assert (Pictures([tmp_path / "a.png"], 4)[0] == 128).all()
