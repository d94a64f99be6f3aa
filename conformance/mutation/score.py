"""What the fates of mutants come to: a score, line by line, and what was argued to be equivalent."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from conformance.adapters.source import Line
from conformance.mutation.kill import Judged
from conformance.mutation.mutant import Mutant
from conformance.roles.nearest import nearest


class ArguedError(Exception):
    """The file of arguments cannot be used; the message says what to change."""


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file: these mutants are equivalent, and why. `mutant` may end with `*`."""

    mutant: str
    because: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    equivalent: tuple[Argument, ...] = ()


class LineScore(msgspec.Struct, frozen=True):
    """A line of the code under test: how many of its mutants met which fate, and the clauses that killed."""

    line: Line
    what: str
    fates: Mapping[str, int]
    clauses: tuple[str, ...]


class Score(msgspec.Struct, frozen=True):
    """All mutants of an implementation."""

    judged: tuple[Judged, ...]
    argued: Mapping[str, str]
    """Mutant to why it is equivalent."""
    refuted: tuple[str, ...] = ()
    """Arguments that do not hold, in words: a guarantee kills the mutant, or there is none of that name."""

    def fates(self) -> Counter[str]:
        return Counter(self.fate(j) for j in self.judged)

    def fate(self, judged: Judged) -> str:
        return "argued" if judged.fate != "killed" and key(judged.mutant) in self.argued else judged.fate

    @property
    def percent(self) -> float:
        """Of the mutants that are neither shown nor argued equivalent, how many a guarantee kills."""
        counted = [j for j in self.judged if self.fate(j) not in ("argued", "same")]
        return 100 * sum(j.fate == "killed" for j in counted) / len(counted) if counted else 100.0

    def survivors(self) -> list[Judged]:
        """What no guarantee noticed, that which shows first."""
        order = ("shows", "deviates", "not exercised", "crash", "memory", "same")
        alive = [j for j in self.judged if self.fate(j) in order]
        return sorted(alive, key=lambda j: (order.index(j.fate), j.mutant))

    def lines(self) -> list[LineScore]:
        by_line: dict[tuple[Line, str], list[Judged]] = {}
        for judged in self.judged:
            by_line.setdefault((judged.mutant.site.line, judged.mutant.site.what), []).append(judged)
        return [
            LineScore(line, what, dict(Counter(map(self.fate, found))), _clauses(found))
            for (line, what), found in sorted(by_line.items())
        ]


def _clauses(judged: Iterable[Judged]) -> tuple[str, ...]:
    return tuple(sorted({j.detail for j in judged if j.fate == "killed"}))


def key(mutant: Mutant) -> str:
    """What a mutant is called in the file of arguments: no line numbers, so that it survives edits elsewhere."""
    return f"{mutant.site.key}: {mutant.operator}{' ' * bool(mutant.variant)}{mutant.variant}"


def score(judged: Sequence[Judged], arguments: Sequence[Argument] = (), *, whole: bool = True) -> Score:
    """`whole`: these are all mutants, so that an argument that fits none has a name that nothing has."""
    argued: dict[str, str] = {}
    refuted: list[str] = []
    known = {key(j.mutant): j for j in judged}
    for argument in arguments:
        stem = argument.mutant.removesuffix("*")
        fits = [k for k in known if k == argument.mutant or (stem != argument.mutant and k.startswith(stem))]
        if whole and not fits:
            refuted.append(f"no mutant is called {argument.mutant!r}. {nearest(argument.mutant, known)}")
        for name in fits:
            if known[name].fate == "killed":
                by = known[name].detail
                refuted.append(f"{name!r} is said to be equivalent, and {by} kills it. Take the line out.")
            else:
                argued[name] = argument.because
    return Score(tuple(judged), argued, tuple(refuted))


def arguments(path: Path) -> tuple[Argument, ...]:
    """The arguments of a file (TOML: [[equivalent]] mutant, because). Raises ArguedError."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), _File).equivalent
    except OSError as error:
        raise ArguedError(f"cannot read {path}: {str(error.strerror).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ArguedError(f"{path}: {error}. It holds tables [[equivalent]] with mutant and because.") from None
