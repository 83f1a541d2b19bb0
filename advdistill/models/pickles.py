"""Analyse a checkpoint's pickle without running it: which classes it names, and how much work unpickling would take.

`torch.load(weights_only=True)` runs no foreign code, but it calls the functions on its own list as often, and on as
much data, as a file says: hashing a key of 60 nested tuples takes 2 ** 60 steps, and 668 bytes suffice to write it.
Limits on the number of instructions or on depth do not prevent that and reject honest files; a time limit depends on
the machine. So each instruction is priced before anything is unpickled: the price is the steps and bytes it will take.
An honest pickle costs about a step per instruction; one that costs more than a few steps per byte is rejected.
"""

import pickletools
from collections import deque
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .._internal.reading import printable
from .pickle_classes import ATTRIBUTES, BYTES, SAFE_CALLS, TENSORS, class_name, is_safe, numpy_scalar

__all__ = ["Program", "TooExpensive", "follow"]

STEPS = 16  # allowed per byte of the pickle
SLACK = 10_000
ODD_KEYS = 10_000  # tuples and long integers as keys: their hashes can be made to collide
WRAPPING = ("._reconstruct", "._reconstructor", ".__newobj__", ".__newobj_ex__")  # their first argument is the class
STRINGS = {"UNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}


class TooExpensive(ValueError):
    """A pickle that asks for more work than its length allows."""


@dataclass(slots=True, eq=False)
class Value:
    """A value on the unpickler's stack.

    Attributes:
        kind: `text`, `number`, `tuple`, `list`, `dict`, `class`, `made` (by a class or function) or `other`.
        content: the text or number; for `class` its name, for `made` the name of the class or function that made it.
        size: the steps to copy the value or, for a tuple, to hash it.
        parts: the contained values that may contain others, each with its key.
    """

    kind: str
    content: Any = None
    size: int = 1
    parts: list[tuple[str, "Value"]] = field(default_factory=list)

    @property
    def hashing(self) -> int:
        return self.size if self.kind == "tuple" else 1

    def add(self, key: str, value: "Value") -> None:
        if value.kind not in ("text", "number", "other") or self.kind == "tuple":
            self.parts.append((key, value))


@dataclass(frozen=True)
class Program:
    """One pickle: its object as a tree, and the highest protocol that the pickle uses."""

    root: Value
    protocol: int

    def unsafe(self) -> tuple[str, str] | None:
        """Return the class nearest to the root that plain checkpoints do not contain, and the keys that lead to it."""
        waiting, visited = deque([("", self.root)]), set()
        while waiting:
            path, value = waiting.popleft()
            if id(value) in visited:
                continue
            visited.add(id(value))
            first = value.parts[0][1].content if value.parts else None
            if value.kind in ("class", "made") and not is_safe(str(value.content), value.kind == "made", first):
                return value.content, path
            waiting += [(".".join(filter(None, (path, key))), part) for key, part in value.parts]
        return None


def follow(stream: BinaryIO, room: int) -> Program:
    """Analyse the pickle from the current position of `stream` to its end.

    Args:
        room: the most numbers that all its storages together may hold.

    Raises:
        TooExpensive: unpickling would take more steps than the pickle's length allows.
        Exception: any kind, if the pickle is damaged.
    """
    return _Follower(stream, room).run()


class _Follower:
    def __init__(self, stream: BinaryIO, room: int):
        self.stream, self.room = stream, room
        self.stack: list[Value] = []
        self.marked: list[list[Value]] = []
        self.memo: dict[int, Value] = {}
        self.storages: set[str] = set()
        self.price = self.odd_keys = self.protocol = 0

    def run(self) -> Program:
        start = self.stream.tell()
        for opcode, argument, position in pickletools.genops(self.stream):
            self.protocol = max(self.protocol, opcode.proto)
            self.step(opcode, argument)
            if self.price > STEPS * ((position or 0) - start) + SLACK or self.odd_keys > ODD_KEYS:
                raise TooExpensive
        return Program(self.stack.pop(), self.protocol)

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in STRINGS:
            self.stack.append(Value("text", argument, len(argument)))
        elif name in NUMBERS:
            self.stack.append(Value("number", argument))
        elif name == "MARK":
            self.marked.append(self.stack)
            self.stack = []
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name.startswith("EMPTY_") or name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "DICT", "FROZENSET"):
            self.collect(name)
        elif name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS"):
            items = self.pop(1 + (name == "SETITEM")) if name in ("APPEND", "SETITEM") else self.pop_marked()
            self.fill(self.stack[-1], items, pairs=name.startswith("SET"))
        elif name in ("GLOBAL", "INST"):
            self.stack.append(Value("class", class_name(*argument.split(" ", 1))))
            if name == "INST":
                self.stack[-1:] = [self.call(self.stack[-1], [])]
        elif name == "STACK_GLOBAL":
            module, attribute = self.pop(2)
            self.stack.append(Value("class", class_name(module.content, attribute.content)))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ"):
            made, *arguments = self.pop_marked() if name == "OBJ" else self.pop(3 if name == "NEWOBJ_EX" else 2)
            self.stack.append(self.call(made, arguments))
        elif name == "BUILD":
            (state,) = self.pop(1)
            self.price += state.size
            self.stack[-1].add("", state) if state.kind == "tuple" else self.stack[-1].parts.extend(state.parts)
        elif name in ("BINPERSID", "PERSID"):
            self.storage(self.pop(1)[0] if argument is None else Value("text", argument))
        else:
            self.other(opcode)

    def pop(self, count: int) -> list[Value]:
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        at = len(self.stack) - count
        taken, self.stack[at:] = self.stack[at:], []
        return taken

    def pop_marked(self) -> list[Value]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def collect(self, name: str) -> None:
        count = 0 if name.startswith("EMPTY_") else int(name[-1]) if name[-1].isdigit() else None
        items = self.pop_marked() if count is None else self.pop(count)
        if "TUPLE" in name:
            parts = [(str(i), item) for i, item in enumerate(items)]
            made = Value("tuple", size=1 + sum(item.hashing for item in items), parts=parts)
        else:
            made = Value("dict" if "DICT" in name else "list")
            self.fill(made, items, pairs="DICT" in name)
        self.stack.append(made)

    def fill(self, container: Value, items: list[Value], pairs: bool) -> None:
        if not pairs:
            for i, item in enumerate(items, len(container.parts)):
                container.add(str(i), item)
            container.size += len(items)
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.price += key.hashing
            self.odd_keys += key.kind == "tuple" or (key.kind == "number" and abs(key.content) >= 2**61 - 1)
            container.size += key.hashing
            container.add(_shown(key), value)
            if key.kind != "tuple":
                container.add("(a key)", key)

    def call(self, function: Value, arguments: list[Value]) -> Value:
        """Add the steps to copy the arguments and to hash what lies up to two levels down in them (pairs in a list)."""
        name, made = str(function.content), Value("made", function.content if function.kind == "class" else "a call")
        passed = arguments[0].parts if arguments else []
        if name in SAFE_CALLS | TENSORS or name == ATTRIBUTES:
            steps = [value.size for _, value in passed]
            steps += [part.hashing for _, value in passed for _, part in value.parts]
            steps += [inner.hashing for _, value in passed for _, part in value.parts for _, inner in part.parts]
            self.price += sum(steps)
            made.size = 1 + sum(steps) if name in SAFE_CALLS else 1
        elif name in BYTES:
            given = [value for _, value in passed]
            text = bool(given) and given[0].kind in ("text", "made") and name != given[0].content
            latin = len(given) < 2 or str(given[1].content).replace("-", "").lower() in ("latin1", "iso88591")
            if not text or not latin or (name == "_codecs.encode" and given[0].kind != "text"):
                made.content = f"{name} of a number or of another code"
            made.size = given[0].size if given else 1
            self.price += made.size
        elif name.endswith(WRAPPING) and passed:
            made.content = passed[0][1].content or name
        elif name.endswith(".scalar") and passed and passed[0][1].kind == "made":
            made.content = numpy_scalar(str(passed[0][1].parts[0][1].content if passed[0][1].parts else ''))
        made.parts = [(key if name not in TENSORS else "", value) for key, value in passed if value.kind != "number"]
        return made

    def storage(self, identity: Value) -> None:
        """Count a storage's numbers. Names must be lower case: two that differ only in case would be one zip entry."""
        parts = [value for _, value in identity.parts]
        key, count = (str(parts[2].content), parts[4].content) if len(parts) > 4 else ("", 0)
        if key not in self.storages:
            self.storages.add(key)
            self.room -= count if isinstance(count, int) and count >= 0 else self.room + 1
        if key != key.lower() or self.room < 0:
            raise ValueError("more numbers than the file has bytes")
        self.stack.append(Value("other"))

    def other(self, opcode: pickletools.OpcodeInfo) -> None:
        """Apply an opcode's effect on the stack as pickletools describes it: constants, POP, DUP and so on."""
        for before in reversed(opcode.stack_before):
            if before is pickletools.markobject:
                self.pop_marked()
            elif before is not pickletools.stackslice and opcode.name != "STOP":
                self.pop(1)
        if opcode.name != "STOP":
            self.stack += [Value("other") for _ in opcode.stack_after]


def _shown(key: Value) -> str:
    return printable(key.content, 60) if key.kind in ("text", "number") else f"(a {key.kind})"
