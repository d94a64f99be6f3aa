"""A patch, as it is mailed or as `git diff` prints it, done to files of a tree in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from pathlib import Path

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from conformance.adapters.native import NativeError


def patched(patch: Path, read: Callable[[str], str]) -> Mapping[str, str]:
    """Each file that the patch changes, as it is then; `read` gives the text of one that there is. Raises NativeError."""
    try:
        files = PatchSet(patch.read_text(errors="surrogateescape"))
    except (OSError, UnidiffParseError) as error:
        raise NativeError(f"the patch {patch} cannot be read: {error}", "build") from None
    if not files:
        raise NativeError(
            f"{patch} is no patch: it changes no file. `git diff` and `git format-patch` make one.", "build"
        )
    return {file.path: _done(patch, file, "" if file.is_added_file else read(file.path)) for file in files}


def _done(patch: Path, file: PatchedFile, text: str) -> str:
    lines, moved = text.splitlines(keepends=True), 0
    for hunk in file:
        old = [line.value for line in hunk if not line.is_added and line.line_type != "\\"]
        new = [line.value for line in hunk if not line.is_removed and line.line_type != "\\"]
        at = max(hunk.source_start - 1, 0) + moved
        fits = [n for n in range(len(lines) - len(old) + 1) if lines[n : n + len(old)] == old]
        if not fits:
            raise NativeError(
                f"{patch} does not fit this tree: {file.path} has nowhere what the change at line {hunk.source_start} is "
                "to replace. Is the patch already in it, or made for another release?",
                "build",
            )
        found = min(fits, key=lambda n: abs(n - at))
        lines[found : found + len(old)] = new
        moved += found - at + len(new) - len(old)
    return "".join(lines)


def changed_lines(old: str, new: str) -> frozenset[int]:
    """Lines of the new text that are not in the old one, from 1; of a deletion the line that comes after it."""
    before, after = old.splitlines(), new.splitlines()
    found: set[int] = set()
    for what, _, _, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what != "equal":
            found |= set(range(start + 1, max(end, start + 1) + 1))
    return frozenset(found)
