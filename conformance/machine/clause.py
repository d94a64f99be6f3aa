"""A clause: what is promised, by whose word, and the texts that say so, each with whether it was read.

A clause is declared where it is judged, in a section of the catalogue:

    SDM = Text("Intel SDM vol. 3C, ch. 29 edition")
    PROCESSING = Section("Posted-interrupt processing", "What the processor does when ...", ids=("PIP",), ...)

    PIP_7 = PROCESSING.must("PIP-7", "RVI becomes the larger of ...", SDM("29.6, step 6"), observe="RVI after ...")

Monitors and checks name it by the object, so that no id can be misspelt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, TypedDict, Unpack

import msgspec

Kind: TypeAlias = Literal["guarantee", "discipline"]
Modality: TypeAlias = Literal["MUST", "MUST NOT", "MAY"]
Check: TypeAlias = Literal["sequential", "interleaving", "witness", "not-checked"]
Authority: TypeAlias = Literal["architecture", "linux", "end-to-end"]
"""Whose word it is: a manual's, Linux's, or nobody's in particular, since no guest or device could do without it."""


class Citation(msgspec.Struct, frozen=True):
    """A place in a text. `read`: whether that place itself was read; `note`: what it says, or who quotes it."""

    text: str
    place: str = ""
    read: bool = True
    note: str = ""

    @property
    def where(self) -> str:
        return f"{self.text}, {self.place}" if self.place else self.text

    def __str__(self) -> str:
        notes = [*([self.note] if self.note else []), *([] if self.read else ["not read"])]
        return f"{self.where} ({'; '.join(notes)})" if notes else self.where


@dataclass(frozen=True)
class Text:
    """A document, in the edition that was used. Called with a place it answers the citation."""

    title: str
    read: bool = True

    def __call__(self, place: str = "", note: str = "", *, read: bool | None = None) -> Citation:
        return Citation(self.title, place, self.read if read is None else read, note)


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """One documented clause, as data."""

    id: str
    section: str
    architecture: str
    kind: Kind
    modality: Modality
    role: str
    authority: Authority
    statement: str
    sources: tuple[Citation, ...]
    profiles: tuple[str, ...]
    check: Check
    """sequential: one routine alone on generated states. interleaving: a monitor over traces, or at rest. witness: a MAY,
    of which one trace is searched for. not-checked: see `reason`.
    """
    observe: str = ""
    """What is looked at to judge it."""
    premise: str = ""
    """What must be true for it to apply."""
    of: tuple[str, ...] = ()
    """The clauses that it is, under the conditions in `where`."""
    where: tuple[str, ...] = ()
    reason: str = ""
    """Why it is not checked."""
    waived: dict[str, str] = {}
    """Profile to the reason, with its source, why it is waived there."""

    @property
    def unread(self) -> tuple[Citation, ...]:
        """What is to be looked up before a violation is held against anybody."""
        return tuple(s for s in self.sources if not s.read)

    @property
    def verified(self) -> bool:
        """Whether all that it rests on was read."""
        return not self.unread


class Particulars(TypedDict, total=False):
    """What a clause may have of its own; the rest is its section's."""

    observe: str
    premise: str
    kind: Kind
    role: str
    authority: Authority
    profiles: tuple[str, ...]
    of: tuple[Clause, ...]
    where: tuple[str, ...]
    unchecked: str
    """Why it is not checked."""
    waived: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the catalogue, with what its clauses have in common. It keeps them in the order of their ids."""

    title: str
    about: str
    ids: tuple[str, ...]
    """What its clauses' ids begin with, in order; a number or a word follows."""
    architecture: str
    role: str
    authority: Authority
    kind: Kind = "guarantee"
    profiles: tuple[str, ...]
    check: Check = "interleaving"
    declared: dict[str, Clause] = field(default_factory=dict)

    @property
    def alone(self) -> Section:
        """The same section, for clauses that are functions: one routine alone is checked."""
        return replace(self, check="sequential")

    def must(self, name: str, statement: str, *sources: Citation, **own: Unpack[Particulars]) -> Clause:
        return self._declare("MUST", name, statement, sources, own)

    def must_not(self, name: str, statement: str, *sources: Citation, **own: Unpack[Particulars]) -> Clause:
        return self._declare("MUST NOT", name, statement, sources, own)

    def may(self, name: str, statement: str, *sources: Citation, **own: Unpack[Particulars]) -> Clause:
        return self._declare("MAY", name, statement, sources, own)

    def _declare(
        self, modality: Modality, name: str, statement: str, sources: tuple[Citation, ...], own: Particulars
    ) -> Clause:
        """Raises ValueError for an id that is taken, or is none of this section's."""
        if name in self.declared or _family(name)[0] not in self.ids:
            known = (
                f"{name} is declared twice" if name in self.declared else f"ids here begin with {', '.join(self.ids)}"
            )
            raise ValueError(f"clause {name} in section {self.title!r}: {known}")
        reason = own.get("unchecked", "")
        made = Clause(
            id=name,
            section=self.title,
            architecture=self.architecture,
            kind=own.get("kind", self.kind),
            modality=modality,
            role=own.get("role", self.role),
            authority=own.get("authority", self.authority),
            statement=statement,
            sources=sources,
            profiles=own.get("profiles", self.profiles),
            check="not-checked" if reason else "witness" if modality == "MAY" else self.check,
            observe=own.get("observe", ""),
            premise=own.get("premise", ""),
            of=tuple(base.id for base in own.get("of", ())),
            where=own.get("where", ()),
            reason=reason,
            waived=own.get("waived", {}),
        )
        self.declared[name] = made
        return made

    def __iter__(self) -> Iterator[Clause]:
        """Its clauses, in order."""

        def place(clause: Clause) -> tuple[int, bool, int, str]:
            family, last = _family(clause.id)
            number = int(last) if last.isdecimal() else 0
            return self.ids.index(family), not last.isdecimal(), number, last

        return iter(sorted(self.declared.values(), key=place))


def _family(name: str) -> tuple[str, str]:
    """PIP-7 is number 7 of PIP; a name without a number is alone."""
    family, _, last = name.rpartition("-")
    return (family, last) if family else (name, "")
