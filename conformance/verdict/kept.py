"""Results kept by content: what was found out once is not found out again, as long as all that it rests on is the same.

    item, scenario, machinery, profile, what the implementation declares ──hash──> key
    key ──> result, and what the implementation was asked and said

What code does cannot be told from its files: a class may import anything, a program may read anything. So all that an
implementation was asked is asked again, and its result counts if every answer is the same. Only of what ships with the
suite the code itself is enough, since all of it is here, and a program that was built of files is what it was built of;
where that has changed, it is asked like any other.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import msgspec

from conformance.adapters.registry import AdapterError, Implementation
from conformance.adapters.user_cache import user_cache
from conformance.automaton.asked import Again, Aside, Asked, DiffersError, asked_of
from conformance.automaton.assembly import Assembled, recorded
from conformance.verdict.clause import Counterexample
from conformance.verdict.explore import Explored
from conformance.verdict.ingredients import changed_since_loaded, declared, hashed, machinery, own_code
from conformance.verdict.store import Store
from conformance.verdict.suite import Checked, Suite
from conformance.verdict.work import Check, Done, Item, Result, Work, result_type

CHANCE = ("CRASH", "TIMEOUT", "NONDETERMINISTIC")
"""What ended so may end otherwise the next time."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    result: msgspec.Raw
    code: str
    """A hash of what ships with the suite, where nothing else could change it."""
    content: str
    """What the implementation's own routines were made of, where it names that."""
    asked: msgspec.Raw


class Records(Protocol):
    """Where records are: in a folder, or on the way to another machine."""

    def load(self, key: str) -> bytes | None: ...

    def save(self, key: str, content: bytes) -> None: ...


@dataclass(frozen=True)
class KeptWork(Work):
    """Does what is not known from an earlier run."""

    store: Records
    rests_on: str
    """A hash of what the results of all items rest on."""
    code: str
    """Of what ships with the suite, or empty: `own_code`."""
    before: str = ""
    """`rests_on` of what the implementation is a variant of (`Implementation.base`)."""

    def done(self, item: Item) -> Done:
        begun = time.monotonic()
        if known := self._known(item):
            return Done(known[0], time.monotonic() - begun, kept=True)
        with recorded() as made:
            done = super().done(item)
        self._keep(item, done.result, made)
        return done

    def records(self, item: Item) -> dict[str, bytes]:
        """What the store has of it, by key."""
        keys = [self._key(item, rests_on) for rests_on in (self.rests_on, self.before) if rests_on]
        return {key: content for key in keys if (content := self.store.load(key))}

    def _known(self, item: Item) -> tuple[Result] | None:
        return self._found(item, self.rests_on) or (self._found(item, self.before) if self.before else None)

    def _found(self, item: Item, rests_on: str) -> tuple[Result] | None:
        content = self.store.load(self._key(item, rests_on))
        try:
            record = msgspec.json.decode(content or b"", type=Record)
            result: Result = msgspec.json.decode(record.result, type=result_type(item))
            if rests_on != self.rests_on and _tells_places(result):  # a schedule is of the one that was run
                return None
            trusted = bool(self.code) and self.code == record.code
            same = self.implementation.content == record.content
            if trusted and same and (not self.implementation.replaces or record.content):
                return (result,)
            asked = msgspec.json.decode(record.asked, type=tuple[Asked, ...])
        except msgspec.MsgspecError:  # none, or damaged
            return None
        afresh = isinstance(result, Explored) and not self.implementation.content
        again = self._again_its_own if trusted else self._again
        if not all(again.same(one, sites=_tells_places(result), afresh=afresh) for one in asked):
            return None
        if not (same and self.code == record.code):
            self._save(item, msgspec.structs.replace(record, code=self.code, content=self.implementation.content))
        return (result,)

    @cached_property
    def _again(self) -> Again | Aside:
        return self._asking(None)

    @cached_property
    def _again_its_own(self) -> Again | Aside:
        return self._asking(self.implementation.replaces)

    def _asking(self, of: Collection[str] | None) -> Again | Aside:
        """What cannot remember is asked in this process, so that the work itself need not ask it again."""
        again = Again(self.implementation, of)
        return again if self.code and self.implementation.content else Aside(again)

    def _keep(self, item: Item, result: Result, made: Sequence[Assembled]) -> None:
        if isinstance(result, Explored | Checked) and result.fault_status in CHANCE:
            return
        try:
            asked = asked_of(made, sites=_tells_places(result))
            record = Record(result=_raw(result), code=self.code, content=self.implementation.content, asked=_raw(asked))
        except (DiffersError, TypeError, OverflowError):  # it said nothing, or what is no JSON
            return
        if asked:
            self._save(item, record)

    def _save(self, item: Item, record: Record) -> None:
        if not changed_since_loaded():
            self.store.save(self._key(item, self.rests_on), msgspec.json.encode(record))

    def _key(self, item: Item, rests_on: str) -> str:
        scenario = None if isinstance(item, Check) else self.scenarios[getattr(item, "scenario", "")]
        return hashed(rests_on, type(item).__name__, msgspec.json.encode(item), msgspec.json.encode(scenario))[:32]


def work(implementation: Implementation, profile: str, suite: Suite) -> Work:
    """That keeps results in the user's cache, where that can be."""
    try:
        if changed_since_loaded():
            return Work(implementation, profile, suite)
        rests_on = hashed(machinery(), declared(implementation), profile)
        code = own_code(implementation)
        base = implementation.base
        before = hashed(machinery(), declared(replace(implementation, spec=base)), profile) if base else ""
    except (OSError, ImportError, AdapterError):  # what cannot be read has no hash
        return Work(implementation, profile, suite)
    store = Store(user_cache() / "results")
    store.trim()
    return KeptWork(implementation, profile, suite, store, rests_on, code, before)


def _tells_places(result: Result) -> bool:
    """Whether it holds a schedule, which says where in the code each operation was asked for."""
    found = result.counterexamples.values() if isinstance(result, Explored) else [result]
    return any(isinstance(one, Counterexample) and one.trace for one in found)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
