"""The PIR scanner against the oracle that walks 256 bits: every entry point, and what it says to bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import harvests
from conformance.adapters import compiled
from reference.pir import compiled as pir_compiled
from reference.pir import harvest as pir
from reference.pir import naive as pir_naive
from reference.pir.harvest import Flags, Harvested, Words

FULL = (1 << 256) - 1
EDGES = (0, 1, 31, 32, 63, 64, 127, 128, 191, 192, 254, 255)
LONGEST_MANTISSAS = tuple(
    (1 << top + 1) - (1 << low) for top in range(256) for low in {0, max(top - 53, 0), max(top - 31, 0)}
)
"""A run of ones below a highest bit: a conversion to floating point that rounds makes it one bit more."""

registers = st.one_of(
    st.just(0),
    st.just(FULL),
    st.sampled_from(EDGES).map(lambda v: 1 << v),
    st.integers(0, 255).map(lambda v: 1 << v),
    st.sampled_from(LONGEST_MANTISSAS),
    st.lists(st.integers(0, 255), max_size=4).map(lambda vectors: sum(1 << v for v in set(vectors))),
    st.integers(0, FULL),
)
rows = st.lists(st.tuples(registers, registers, st.booleans()), max_size=12)

HarvestMany = Callable[..., Harvested]


def words(numbers: list[int]) -> Words:
    raw = b"".join(number.to_bytes(32, "little") for number in numbers)
    return np.frombuffer(bytearray(raw), "<u8").reshape(-1, 4)


def numbers(table: Words) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in table]


@pytest.fixture(params=["numpy", "compiled"], scope="module")
def harvest_many(request: pytest.FixtureRequest) -> HarvestMany:
    """Both fast paths."""
    if request.param == "numpy":
        return pir.harvest_many
    if missing := compiled.unavailable():
        pytest.skip(missing)
    return pir_compiled.harvest_many


# One descriptor


@given(registers, registers)
def test_one_descriptor(pending: int, virr: int) -> None:
    assert pir.harvest(pending, virr) == pir_naive.harvest(pending, virr)


@given(st.booleans(), registers, registers)
def test_one_descriptor_with_on(on: bool, pending: int, virr: int) -> None:
    assert pir.harvest_if_on(on, pending, virr) == pir_naive.harvest_if_on(on, pending, virr)


@pytest.mark.parametrize(("pending", "virr"), [(1 << 256, 0), (0, 1 << 256), (-1, 0), (0, -1), (-(1 << 300), 5)])
def test_numbers_that_are_no_registers(pending: int, virr: int) -> None:
    with pytest.raises(ValueError, match="256 bits"):
        pir.harvest(pending, virr)


# Many


def both(harvest: HarvestMany, table: list[tuple[int, int, bool]], with_on: bool, threads: int) -> None:
    """The scanner and the oracle leave the same arrays and answer the same."""
    results: list[tuple[Any, ...]] = []
    for scan, more in ((harvest, {"threads": threads}), (pir_naive.harvest_many, {})):
        p, v = words([row[0] for row in table]), words([row[1] for row in table])
        on: Flags | None = np.array([row[2] for row in table], np.bool_) if with_on else None
        found = scan(p, v, on, **more)
        assert found.posted.dtype == found.rvi.dtype == np.int16
        moved = found.moved.tolist()
        on_after = None if on is None else on.tolist()
        results.append((numbers(p), numbers(v), on_after, found.posted.tolist(), found.rvi.tolist(), moved))
    assert results[0] == results[1]


@settings(deadline=None)
@given(table=rows, with_on=st.booleans(), threads=st.integers(1, 4))
def test_many(harvest_many: HarvestMany, table: list[tuple[int, int, bool]], with_on: bool, threads: int) -> None:
    """A few rows are several blocks, the last one not whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pir, "BLOCK", 5)
        both(harvest_many, table, with_on, threads)


def test_every_single_bit_and_every_run_of_ones(harvest_many: HarvestMany) -> None:
    """The highest bit is known beforehand. PIR and vIRR take turns in which of them has it."""
    table = [(1 << v, v) for v in range(256)] + [(ones, ones.bit_length() - 1) for ones in LONGEST_MANTISSAS]
    for low in (0, 1):
        p, v = words([ones for ones, _ in table]), words([low] * len(table))
        found = harvest_many(p, v)
        assert found.posted.tolist() == found.rvi.tolist() == [top for _, top in table]
        assert numbers(v) == [ones | low for ones, _ in table]
        assert not p.any()
        again = harvest_many(p, v)
        assert set(again.posted.tolist()) == {-1}
        assert again.rvi.tolist() == found.rvi.tolist()


def test_every_pair_of_bits(harvest_many: HarvestMany) -> None:
    pairs = [(i, j) for i in range(256) for j in range(256)]
    p, v = words([1 << i for i, _ in pairs]), words([1 << j for _, j in pairs])
    found = harvest_many(p, v)
    assert found.posted.tolist() == [i for i, _ in pairs]
    assert found.rvi.tolist() == [max(pair) for pair in pairs]
    assert numbers(v) == [1 << i | 1 << j for i, j in pairs]


def test_every_row_has_a_vector_in_the_highest_word(harvest_many: HarvestMany) -> None:
    """And then one that does not."""
    pairs = [(high, low) for high in range(224, 256) for low in (0, 100, 223, 224, 255)]
    for more in ([], [(0, 0)], [(223, 5)]):
        table = [*pairs, *more]
        p, v = words([1 << a | 1 << b for a, b in table]), words([1 << b for _, b in table])
        found = harvest_many(p, v)
        assert found.posted.tolist() == found.rvi.tolist() == [max(pair) for pair in table]


@pytest.mark.parametrize("n", [0, 1, pir.BLOCK - 1, pir.BLOCK, pir.BLOCK + 1, 2 * pir.BLOCK + 3])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_descriptors(harvest_many: HarvestMany, n: int, threads: int) -> None:
    """Row i holds vector i modulo 256, so that a row taken for another shows."""
    vectors = np.arange(n) % 256
    p, v = (np.zeros((n, 4), np.uint64) for _ in range(2))
    p[np.arange(n), vectors // 64] = np.uint64(1) << (vectors % 64).astype(np.uint64)
    due = p.copy()
    found = harvest_many(p, v, threads=threads)
    assert (found.posted == vectors).all()
    assert (v == due).all()
    assert not p.any()


def test_answers_go_where_they_are_asked_to(harvest_many: HarvestMany) -> None:
    out = Harvested(np.zeros(2, np.int16), np.zeros(2, np.int16))
    assert harvest_many(words([1, 0]), words([0, 2]), out=out) is out
    assert (out.posted.tolist(), out.rvi.tolist()) == ([0, -1], [0, 1])


@given(st.lists(registers, max_size=12))
def test_highest_of_many(table: list[int]) -> None:
    assert pir.highest_many(words(table)).tolist() == pir_naive.highest_many(words(table)).tolist()


@pytest.mark.parametrize("pattern", harvests.PATTERNS)
def test_what_the_benchmark_compares_with_does_the_same_work(pattern: str) -> None:
    """Each contender, the kernel's algorithms in C among them, leaves and answers what the oracle does."""
    random = np.random.default_rng(5)
    given_pir, given_virr = (harvests.PATTERNS[pattern](200, random) for _ in range(2))
    results: dict[str, tuple[Any, ...]] = {}
    for contender in harvests.contenders():
        p, v = given_pir.copy(), given_virr.copy()
        out = Harvested(np.zeros(200, np.int16), np.zeros(200, np.int16))
        contender.run([(p, v, out)])
        results[contender.name] = (numbers(p), numbers(v), out.posted.tolist(), out.rvi.tolist())
    due = pir_naive.harvest_many(given_pir, given_virr)
    right = (numbers(given_pir), numbers(given_virr), due.posted.tolist(), due.rvi.tolist())
    for name, result in results.items():
        answers = 4 if name not in ("naive", harvests.MERGE) else 2  # those two answer nothing here
        assert result[:answers] == right[:answers], name
    assert len(results) == (4 if compiled.unavailable() else 9)


# Bad input


def some(n: int = 3) -> Words:
    return np.zeros((n, 4), np.uint64)


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


SHARED = some()
BAD: dict[str, tuple[Any, Any, Any, type[Exception], str]] = {
    "a list": ([[0] * 4], some(1), None, TypeError, "pir is of type list; due is a NumPy array of uint64"),
    "signed": (some().astype(np.int64), some(), None, TypeError, "pir holds int64"),
    "big-endian": (some().astype(">u8"), some(), None, TypeError, "pir holds >u8; due is uint64, little-endian"),
    "32-bit words": (np.zeros((3, 8), np.uint32), some(), None, TypeError, "pir holds uint32"),
    "one row": (np.zeros(4, np.uint64), some(1), None, ValueError, r"pir has the shape \(4,\); due is \(n, 4\)"),
    "whole descriptors": (np.zeros((3, 8), np.uint64), some(), None, ValueError, r"pir has the shape \(3, 8\)"),
    "columns": (np.zeros((3, 8), np.uint64)[:, :4], some(), None, ValueError, "pir is not contiguous"),
    "every other row": (some(), np.zeros((6, 4), np.uint64)[::2], None, ValueError, "virr is not contiguous"),
    "read-only": (read_only(some()), some(), None, ValueError, "pir is read-only"),
    "read-only vIRR": (some(), read_only(some()), None, ValueError, "virr is read-only"),
    "too few": (some(), some(2), None, ValueError, "virr has 2 rows, and pir has 3"),
    "one for both": (SHARED, SHARED, None, ValueError, "pir and virr share memory"),
    "flags that are bytes": (some(), some(), np.ones(3, np.uint8), TypeError, "on holds uint8; due is bool"),
    "too few flags": (some(), some(), np.ones(2, np.bool_), ValueError, "on has 2 rows"),
    "read-only flags": (some(), some(), read_only(np.ones(3, np.bool_)), ValueError, "on is read-only"),
    "a column of flags": (some(), some(), np.ones((3, 1), np.bool_), ValueError, r"on has the shape \(3, 1\)"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input(harvest_many: HarvestMany, case: tuple[Any, Any, Any, type[Exception], str]) -> None:
    """It names the array, what is wrong and what is due, and nothing is changed."""
    p, v, on, error, message = case
    with pytest.raises(error, match=message):
        harvest_many(p, v, on)
    assert not np.asarray(p).any() and (on is None or on.all())


def test_other_bad_input(harvest_many: HarvestMany) -> None:
    with pytest.raises(ValueError, match="at least 1; given was 0"):
        harvest_many(some(), some(), threads=0)
    with pytest.raises(TypeError, match=r"out\.rvi holds int64"):
        harvest_many(some(), some(), out=Harvested(np.zeros(3, np.int16), np.zeros(3, np.int64)))  # pyright: ignore
    with pytest.raises(ValueError, match="registers has the shape"):
        pir.highest_many(np.zeros((3, 8), np.uint64))
