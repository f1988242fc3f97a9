r"""Regular expressions whose matching time is bounded: no text makes a pattern slow.

    matches = compile_pattern(r"I2[0-5](\.\d)?")
    matches("I21.4")  # True

Python's own engine goes back and tries again, so that some patterns take exponential time. This
one follows all ways through the pattern at once (Thompson, CACM 1968): the time is at most the
length of the text times that of the expanded pattern. Single characters and classes such as [a-z]
are those of `re`.
"""

import re
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

MAX_PATTERN_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 200
MAX_REPEATS = 100
MAX_STATES = 2000

Matches = Callable[[str], bool]

_CLASSES = "dDwWsS"
_SIMPLE_QUANTIFIERS: dict[str, tuple[int, int | None]] = {
    "*": (0, None),
    "+": (1, None),
    "?": (0, 1),
}
_COUNTS = re.compile(r"\{([0-9]{1,4})(,([0-9]{0,4}))?\}")


class _Character(NamedTuple):
    accepts: re.Pattern[str]


class _Sequence(NamedTuple):
    parts: "tuple[_Node, ...]"


class _Choice(NamedTuple):
    ways: "tuple[_Node, ...]"


class _Repeat(NamedTuple):
    part: "_Node"
    low: int
    high: int | None


_Node = _Character | _Sequence | _Choice | _Repeat


class _State(NamedTuple):
    """A place in the pattern.

    Attributes:
        accepts: the character that leads on; None leads on without one.
        following: the states after it.
    """

    accepts: re.Pattern[str] | None
    following: list[int]


def compile_pattern(pattern: str) -> Matches:
    r"""Returns a function that says whether a whole text matches a pattern.

    Args:
        pattern: characters, `.`, classes such as [A-Z] and \d, groups, `|`, and the quantifiers
            `*`, `+`, `?` and {m,n}. Texts above 200 characters match nothing.

    Raises:
        ValueError: the pattern is damaged, too large, or has other parts.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters")
    machine = _Machine(_Parser(pattern).parsed())
    return machine.matches


class _Parser:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._place = 0

    def parsed(self) -> _Node:
        """Returns the whole pattern."""
        node = self._choice()
        if self._place < len(self._pattern):
            raise ValueError("a pattern closes a group that it does not open")
        return node

    @property
    def _next(self) -> str:
        """The next character; empty at the end."""
        return self._pattern[self._place : self._place + 1]

    def _take(self) -> str:
        character = self._next
        self._place += 1
        return character

    def _choice(self) -> _Node:
        ways = [self._sequence()]
        while self._next == "|":
            self._take()
            ways.append(self._sequence())
        return _Choice(tuple(ways))

    def _sequence(self) -> _Node:
        parts = []
        while self._next not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return _Sequence(tuple(parts))

    def _repeated(self, part: _Node) -> _Node:
        counts = _COUNTS.match(self._pattern, self._place)
        if self._next in _SIMPLE_QUANTIFIERS:
            low, high = _SIMPLE_QUANTIFIERS[self._take()]
        elif counts is not None:
            self._place = counts.end()
            low, high = _bounds(counts)
        else:
            return part
        if self._next in (*_SIMPLE_QUANTIFIERS, "{"):
            raise ValueError("a pattern has one quantifier after another; put a group between them")
        return _Repeat(part, low, high)

    def _atom(self) -> _Node:
        start = self._place
        character = self._take()
        if character == "(":
            return self._group()
        if character in "*+?{}]":
            raise ValueError(f"a pattern needs a backslash before a {character!r} of its own")
        if character in "^$":
            raise ValueError(f"a pattern matches whole texts, so it needs no {character!r}")
        if character == "[":
            self._skip_class()
        elif character == "\\":
            self._check_escape(self._take())
        return _Character(_character(self._pattern[start : self._place]))

    def _group(self) -> _Node:
        if self._pattern.startswith("?:", self._place):
            self._place += 2
        elif self._next == "?":
            raise ValueError("a pattern has groups (...) and (?:...), and no others")
        node = self._choice()
        if self._take() != ")":
            raise ValueError("a pattern opens a group that it does not close")
        return node

    def _skip_class(self) -> None:
        """Moves behind the end of a class such as [^a-z]."""
        if self._next == "^":
            self._take()
        # A bracket in the first place is a member.
        if self._next == "]":
            self._take()
        while self._next not in ("", "]"):
            if self._take() == "\\":
                self._check_escape(self._take())
        if not self._take():
            raise ValueError("a pattern opens a class [ that it does not close")

    def _check_escape(self, character: str) -> None:
        is_sign = len(character) == 1 and not character.isalnum()
        if not (is_sign or (character and character in _CLASSES)):
            raise ValueError(f"a pattern has no \\{character}; \\d, \\w, \\s and signs are known")


def _bounds(counts: re.Match[str]) -> tuple[int, int | None]:
    """Returns the bounds of a quantifier such as {2,4}."""
    low = int(counts[1])
    high: int | None = low
    if counts[2] is not None:
        high = int(counts[3]) if counts[3] else None
    if max(low, high or 0) > MAX_REPEATS or (high is not None and high < low):
        raise ValueError(f"a pattern repeats a part from m to n times, at most {MAX_REPEATS}")
    return low, high


def _character(atom: str) -> re.Pattern[str]:
    """Returns what one character or class of characters accepts."""
    with warnings.catch_warnings():
        # Such as for [[a]: its meaning may change in a later Python.
        warnings.simplefilter("error")
        try:
            return re.compile(atom)
        except (re.error, FutureWarning):
            raise ValueError(f"a pattern has the class {atom}, which cannot be read") from None


class _Machine:
    """The states of a pattern, made from its end to its start."""

    def __init__(self, node: _Node) -> None:
        self._states: list[_State] = []
        self._end = self._add(None, [])
        self._start = self._made(node, self._end)

    def matches(self, text: str) -> bool:
        """Returns whether a whole text leads from the start to the end."""
        if len(text) > MAX_TEXT_CHARACTERS:
            return False
        places = self._closure([self._start])
        for character in text:
            reached: list[int] = []
            for place in places:
                state = self._states[place]
                if state.accepts is not None and state.accepts.fullmatch(character):
                    reached += state.following
            places = self._closure(reached)
        return self._end in places

    def _closure(self, places: Iterable[int]) -> set[int]:
        """Returns states, and all that follow them without a character."""
        waiting = list(places)
        closure: set[int] = set()
        while waiting:
            place = waiting.pop()
            if place in closure:
                continue
            closure.add(place)
            if self._states[place].accepts is None:
                waiting += self._states[place].following
        return closure

    def _add(self, accepts: re.Pattern[str] | None, following: list[int]) -> int:
        if len(self._states) >= MAX_STATES:
            raise ValueError("a pattern is too large; lower its counts {m,n}")
        self._states.append(_State(accepts, following))
        return len(self._states) - 1

    def _made(self, node: _Node, following: int) -> int:
        """Returns the first state of a part that leads to another state."""
        if isinstance(node, _Character):
            return self._add(node.accepts, [following])
        if isinstance(node, _Choice):
            return self._add(None, [self._made(way, following) for way in node.ways])
        if isinstance(node, _Repeat):
            return self._repeated(node, following)
        for part in reversed(node.parts):
            following = self._made(part, following)
        return following

    def _repeated(self, node: _Repeat, following: int) -> int:
        start = following
        if node.high is None:
            start = self._add(None, [following])
            # The part leads back to the choice between once more and no more.
            self._states[start].following.append(self._made(node.part, start))
        else:
            for _ in range(node.high - node.low):
                start = self._add(None, [self._made(node.part, start), following])
        for _ in range(node.low):
            start = self._made(node.part, start)
        return start
