"""Unfolding: from a pure function to an automaton, lazily, each node asked once.

A node is a routine, its arguments and the results of its operations so far; its label is the answer to "what next?"; an
edge is one possible result. Exploration walks nodes and never runs the implementation twice for the same question, so
code behind a pipe is explored as exhaustively as code in Python. `recheck` asks every node again, in another order, to
a fresh source.

A retry loop is a cycle: where a call has gone round four times, each time with the same operations and results, and
would go on so for as long as a call may be, the next edge leads back by one round. So a loop that nothing ends is a
LIVELOCK with a schedule, and not a call that is too long to be unfolded.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from conformance.adapters.answers import ANYTHING, Allowed, shown
from conformance.adapters.source import Fault, Line, Question, Source, answers_of, close
from conformance.automaton.meaning import combined
from conformance.roles import operations as ops

LONGEST_CALL = 400
"""Operations in one call before it is taken to loop for ever."""
ROUNDS = 4
"""Equal rounds after which, and after each power of two of them, a loop is tried for going on for ever."""
LONGEST_ROUND = 32
"""Operations in one round."""


class Node:
    """A point inside one call. Compared by identity: an unfolding never makes two nodes for one history."""

    __slots__ = ("answer", "args", "edges", "owner", "parent", "reads", "result", "routine")

    def __init__(
        self, owner: Unfolding, routine: str, args: tuple[ops.Result, ...], parent: Node | None, result: ops.Result
    ) -> None:
        self.owner, self.routine, self.args, self.parent, self.result = owner, routine, args, parent, result
        self.edges: dict[ops.Result, Node] = {}
        self.reads: tuple[tuple[str, int, ops.Value], ...] = self._reads_since_relax()
        self.answer = owner.ask(self)

    @property
    def results(self) -> tuple[ops.Result, ...]:
        history: list[ops.Result] = []
        node = self
        while node.parent is not None:
            history.append(node.result)
            node = node.parent
        return tuple(reversed(history))

    @property
    def site(self) -> str:
        """Where in the code this operation was asked for (file:line), if the source knows."""
        site = getattr(self.owner.source, "site", None)
        return site(self.routine, self.args, self.results) if site else ""

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines through which this operation is asked for, outermost first, as far as the source knows."""
        lines = getattr(self.owner.source, "lines", None)
        if lines:
            return lines(self.routine, self.args, self.results)
        file, _, number = self.site.rpartition(":")
        return (Line(file, int(number), self.routine),) if number.isdigit() else ()

    def child(self, result: ops.Result) -> Node:
        """The node after this one's operation answered `result`."""
        node = self.edges.get(result)
        if node is None:
            node = self._round_again(result) or Node(self.owner, self.routine, self.args, self, result)
            self.edges[result] = node
        return node

    def _round_again(self, result: ops.Result) -> Node | None:
        """The node one round before the one that `result` leads to, if that goes round and round for ever."""
        passed: list[Node] = [self]
        results: list[ops.Result] = [result]
        while passed[-1].parent is not None:
            results.append(passed[-1].result)
            passed.append(passed[-1].parent)
        for length in range(1, min(LONGEST_ROUND, len(passed) // ROUNDS) + 1):
            rounds = _equal_rounds(passed, results, length)
            if rounds >= ROUNDS and rounds & (rounds - 1) == 0:
                block = [(passed[n].answer, results[n]) for n in reversed(range(length))]
                if self.owner.goes_on(self, results[::-1], block):
                    return passed[length - 1]
        return None

    def _reads_since_relax(self) -> tuple[tuple[str, int, ops.Value], ...]:
        """(location, mask, value seen) of each load since the last relax: what `relax` waits to see change."""
        if self.parent is None or isinstance(self.parent.answer, ops.Relax):
            return ()
        asked = self.parent.answer
        if isinstance(asked, ops.Load):
            return (*self.parent.reads, (asked.at, asked.mask, self.result))  # type: ignore[arg-type]
        if isinstance(asked, ops.Rmw) and isinstance(self.result, int):
            return (*self.parent.reads, (asked.at, asked.mask, combined(asked, self.result)))
        return self.parent.reads

    def __repr__(self) -> str:
        return f"<{self.routine}{self.args} after {self.results}: {self.answer}>"


class Unfolding:
    """All automata of one source."""

    def __init__(self, source: Source, allowed: Allowed = ANYTHING) -> None:
        self.source, self.allowed = source, allowed
        self.roots: dict[tuple[str, tuple[ops.Result, ...]], Node] = {}
        self.questions = 0
        self.asked: list[tuple[Question, ops.Answer]] = []
        """All that its source has said, in order."""
        self.failed = False
        """Whether a question had no answer."""
        self.faults: dict[Question, Fault] = {}
        """What its source raised for want of one: what ends or holds up a program is not done again and again."""

    def root(self, routine: str, args: tuple[ops.Result, ...]) -> Node:
        node = self.roots.get((routine, args))
        if node is None:
            node = self.roots[routine, args] = Node(self, routine, args, None, None)
        return node

    def ask(self, node: Node) -> ops.Answer:
        results = node.results
        if len(results) > LONGEST_CALL:
            raise too_long(node)
        try:
            answer = self._next((node.routine, node.args, results))
        except Fault as fault:
            if fault.status == "CRASH":
                self._same_history(node)
            raise
        if wrong := self.allowed.wrong(answer):
            self.failed = True
            at = f" at {node.lines[-1]}" if node.lines else ""
            raise Fault(
                "CRASH", f"{node.routine}{_shown(node.args)} asked for {shown(answer)}{at}: {wrong}", node.routine
            )
        return answer

    def _next(self, question: Question) -> ops.Answer:
        self.questions += 1
        if question in self.faults:
            raise self.faults[question]
        try:
            answer = self.source.next(*question)
        except Fault as fault:
            self.failed = True
            self.faults[question] = fault
            raise
        self.asked.append((question, answer))
        return answer

    def goes_on(self, node: Node, results: list[ops.Result], block: list[tuple[ops.Answer, ops.Result]]) -> bool:
        """Whether after `results` the call of `node` repeats `block` for as long as a call may be."""
        for n in range(LONGEST_CALL - len(results)):
            due, result = block[n % len(block)]
            try:
                if self._next((node.routine, node.args, tuple(results))) != due:
                    return False
            except Fault:
                return False
            results = [*results, result]
        return True

    def _same_history(self, node: Node) -> None:
        """A routine that asks differently when run again meets results of other operations, and may crash on them."""
        results = node.results
        history: list[Node] = []
        while node.parent is not None:
            node = node.parent
            history.append(node)
        for earlier in history * 2:  # twice, lest a flip-flop happens to be in step
            try:
                again: object = self.source.next(node.routine, node.args, results[: len(earlier.results)])
            except Fault as fault:
                again = f"nothing: {fault}"
            if again != earlier.answer:
                raise _differs(earlier, again)

    def nodes(self) -> Iterator[Node]:
        """Each node once."""
        pending = list(self.roots.values())
        while pending:
            node = pending.pop()
            yield node
            pending.extend(child for child in node.edges.values() if child.parent is node)

    def recheck(self) -> None:
        """Ask every node again, in another order, to a fresh source. Raises Fault NONDETERMINISTIC at the first that
        differs.
        """
        again = self.source.fresh()
        nodes = list(self.nodes())
        random.Random(0).shuffle(nodes)
        answers = answers_of(again, [(node.routine, node.args, node.results) for node in nodes])
        try:
            for node, answer in zip(nodes, answers, strict=True):
                if isinstance(answer, Fault):
                    raise answer
                if answer != node.answer:
                    raise _differs(node, answer)
        finally:
            close(again)


def too_long(node: Node) -> Fault:
    """Of a call that asks for more operations than a call may."""
    return Fault(
        "UNKNOWN",
        f"{node.routine}{_shown(node.args)} asked for more than {LONGEST_CALL} operations in one call. "
        "A loop that waits for another agent must call relax(); an endless loop must end the call and return the next one.",
        node.routine,
    )


def _equal_rounds(passed: list[Node], results: list[ops.Result], length: int) -> int:
    """How many rounds of this length, the last first, are the same. Both lists are the last first."""
    same = 0
    while same + length < len(passed) and _same(passed, results, same, same + length):
        same += 1
    return same // length + 1


def _same(passed: list[Node], results: list[ops.Result], n: int, m: int) -> bool:
    return results[n] == results[m] and type(results[n]) is type(results[m]) and passed[n].answer == passed[m].answer


def _differs(node: Node, answer: object) -> Fault:
    return Fault(
        "NONDETERMINISTIC",
        f"{node.routine}{_shown(node.args)} was asked the same question twice and answered differently. "
        f"After {len(node.results)} operations it first asked for {node.answer}, then for {answer}. "
        "A routine may depend only on its arguments and on the results of its operations: keep state that outlives "
        "a call in declared locations, and leave clocks and randomness out.",
        node.routine,
    )


def _shown(args: tuple[ops.Result, ...]) -> str:
    return "(" + ", ".join(map(str, args)) + ")"
