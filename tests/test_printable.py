"""Text that others wrote is shown, never obeyed."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.commands.streams import _Text  # pyright: ignore[reportPrivateUsage]
from conformance.roles.printable import printable, printable_lines, printable_struct

HOSTILE = "a\x1b[2Jb\u202ec\nPASS (exit status 0)\r\x9b31m\u200b\udc80"


@given(st.text(st.characters()))
def test_whatever_it_is_one_line_that_can_be_read(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert all(line.isprintable() for line in printable_lines(text).splitlines())
    assert all(line.startswith("  ") for line in printable_lines(text).split("\n")[1:])


def test_what_a_terminal_would_obey_is_spelt_out() -> None:
    assert printable(HOSTILE) == r"a\x1b[2Jb\u202ec\nPASS (exit status 0)\r\x9b31m\u200b\udc80"
    assert printable("naïve → ✗") == "naïve → ✗"


def test_a_struct_keeps_its_shape() -> None:
    class Named(msgspec.Struct):
        name: str
        many: dict[str, tuple[str, ...]]

    assert printable_struct(Named("a\nb", {"\x1b": ("\u202e", "c")})) == Named(r"a\nb", {r"\x1b": (r"\u202e", "c")})


@pytest.mark.parametrize(("coloured", "shown"), [(True, "a\x1b[2Jb"), (False, r"a\x1b[2Jb")])
def test_a_stream_lets_colours_through_on_a_terminal_only(coloured: bool, shown: str) -> None:
    raw = io.BytesIO()
    stream = _Text(raw, "utf-8", "backslashreplace", coloured=coloured)
    assert stream.write("a\x1b[2Jb\u202e\n") == 8
    stream.flush()
    assert raw.getvalue().decode() == shown + "\\u202e\n"


def test_an_error_that_names_what_is_hostile() -> None:
    command = [sys.executable, "-m", "conformance", "run", "-a", "mine\x1b[2J\u202e\nPASS (exit status 0)"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 3
    assert "\x1b" not in done.stderr and "\u202e" not in done.stderr
    assert not any(line.startswith("PASS") for line in done.stderr.splitlines())
