"""Posts of one vector, each a call: from when on a delivery is owed, and which one settles it."""

from __future__ import annotations

from typing import NamedTuple


class Posting(NamedTuple):
    """Of several calls under way, the one that has set the bit is taken to be the first to return."""

    owed: bool = False
    """There must be a delivery that starts after a step that set the bit; where a call has none, after the call began."""
    calls: int = 0
    """Calls under way."""
    unset: int = 0
    """Those of them that have not set the bit."""
    served: int = 0
    """And since whose beginning there was a delivery."""

    def begins(self) -> Posting:
        return self._replace(calls=self.calls + 1, unset=self.unset + 1)

    def sets(self) -> Posting:
        unset = max(0, self.unset - 1)
        return self._replace(unset=unset, served=min(self.served, unset), owed=True)

    def returns(self) -> Posting:
        calls = max(0, self.calls - 1)
        if self.unset <= calls:
            return self._replace(calls=calls)
        owed = self.owed or not self.served
        return self._replace(calls=calls, unset=self.unset - 1, served=max(0, self.served - 1), owed=owed)

    def delivered(self) -> Posting:
        return self._replace(owed=False, served=self.unset)
