"""What reaches a terminal, a file and a full disk; what becomes one sentence."""

import json
import os
import subprocess
import sys
import unicodedata

import pytest

from skdidicm.cli.console import print_table, say, sentence, visible

HOSTILE = "cat\x1b]0;owned\x07\x1b[2J\u202egpj\u2066.exe\u200f\r\n\x9b31m"


def hidden(text, allowed="\n"):
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs")} - set(allowed)


def test_escapes_and_bidi_controls_are_shown():
    shown = visible(HOSTILE)
    assert hidden(shown, "") == set()
    assert shown == (r"cat\x1b]0;owned\x07\x1b[2J\u202egpj\u2066.exe\u200f\r\n\x9b31m")


@pytest.mark.parametrize("text", ["plain", "grün", "猫", "عربي", "👩‍🔬", "می‌خواهم", "a b", ""])
def test_words_of_any_script_are_left_alone(text):
    assert visible(text) == text


def test_bytes_that_are_not_utf_8_are_shown():
    assert visible(os.fsdecode(b"caf\xe9")) == r"caf\xe9"


def test_tables_and_messages_are_safe_on_a_terminal(capsys):
    print_table(HOSTILE, ("Name", HOSTILE), [(HOSTILE, "1")])
    say(f"first\n{HOSTILE}")
    out, err = capsys.readouterr()
    assert hidden(out) == hidden(err) == set()
    assert r"cat\x1b]0;owned" in out
    assert err.startswith("first\ncat\\x1b")


def test_an_error_with_a_hostile_name_is_safe(cli, tmp_path):
    result = cli("info", tmp_path / "a\x1b[31m\u202eb")
    assert result.code == 1
    assert hidden(result.err) == set()
    assert r"a\x1b[31m\u202eb does not exist" in result.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "x"), "x: no space left on device."),
        (MemoryError(), "there is not enough memory."),
        (ValueError("steps is 0; expected 1 or more."), "steps is 0; expected 1 or more."),
        (ValueError(), "ValueError, without further explanation."),
    ],
)
def test_errors_are_sentences(error, said):
    assert sentence(error) == said


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(
    "command",
    [["backends", "--json"], ["backends"], ["predict", "{run}", "{rows}", "--format", "csv"]],
)
def test_a_full_standard_output_is_named(digits_run, tmp_path, command):
    import numpy as np

    np.save(tmp_path / "rows.npy", np.zeros((2, 8, 8)))
    names = {"run": digits_run.folder, "rows": tmp_path / "rows.npy"}
    words = [word.format(**names) for word in command]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "skdidicm", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: standard output: no space left on device.\n",
    )


def test_an_output_that_cannot_show_a_name_shows_its_code(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "skdidicm", "info", str(tmp_path / "猫")],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 1
    assert rb"\u732b does not exist" in done.stderr


def test_json_is_plain_ascii(cli, read_json):
    out = cli("backends", "--json").out
    assert out.isascii()
    assert read_json(out) == json.loads(out)
