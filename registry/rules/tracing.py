"""Tracing compiler: turns a Python function into a server program.

    @server_program(states=(StateBounds(-(1 << 28), 1 << 28, 0),))
    def momentum(q, states, scalars):
        (m,) = states
        m = divide(9 * m, 10) + q
        return m, (m,)

The function is called once with traced values. Operations on them are recorded, and integer constants become
parameters. The compiler eliminates common subexpressions, dead code and identities (x + 0, x * 1, division by 1).
Branches and floats cannot be traced, so they raise an error. `docs/own-server-step.md` has an example.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from registry.errors import InputError
from registry.rules.program import SCALAR_BOUNDS, Opcode, Operation, Program, StateBounds, analyse

__all__ = [
    "Rule",
    "TracedScalars",
    "Value",
    "divide",
    "isqrt",
    "maximum",
    "minimum",
    "server_program",
    "sign",
    "trace",
]

Node = tuple[str | Opcode, int, int]
"""An input by name and number, a constant, or an operation on earlier nodes."""


@dataclass(slots=True)
class _Tape:
    """Deduplicated nodes, in the order of their first use."""

    nodes: dict[Node, int] = field(default_factory=dict)

    def put(self, kind: str | Opcode, a: int, b: int = 0) -> Value:
        return Value(self, self.nodes.setdefault((kind, a, b), len(self.nodes)))

    def value(self, x: Value | int) -> Value:
        """Return x as a value of this tape.

        Raises:
            InputError: x is neither an integer nor a value of this tape.
        """
        if isinstance(x, Value):
            if x.tape is not self:
                raise InputError("expected a value of the function that is traced, got one of another")
            return x
        return self.put("constant", _whole(x))


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A traced value: supports + - * with values and integers, unary -, abs(), and >> by an integer (floor)."""

    __array_ufunc__: ClassVar[None] = None  # numpy's numbers leave operations to this class

    tape: _Tape
    node: int

    def __add__(self, other: Value | int) -> Value:
        return self if _is(other, 0) else self._with(Opcode.ADD, other)

    __radd__ = __add__

    def __sub__(self, other: Value | int) -> Value:
        return self if _is(other, 0) else self._with(Opcode.SUB, other)

    def __rsub__(self, other: int) -> Value:
        return -self if _is(other, 0) else self.tape.value(other)._with(Opcode.SUB, self)

    def __mul__(self, other: Value | int) -> Value:
        return self if _is(other, 1) else self._with(Opcode.MUL, other)

    __rmul__ = __mul__

    def __neg__(self) -> Value:
        return self.tape.put(Opcode.NEG, self.node)

    def __abs__(self) -> Value:
        return self.tape.put(Opcode.ABS, self.node)

    def __rshift__(self, bits: int) -> Value:
        return self if _is(bits, 0) else self.tape.put(Opcode.SHR, self.node, _whole(bits))

    def __floordiv__(self, other: Any) -> NoReturn:
        raise InputError("a server program has no //: use divide, which rounds half to even, or >>")

    __rfloordiv__ = __truediv__ = __rtruediv__ = __floordiv__

    def __mod__(self, other: Any) -> NoReturn:
        raise InputError("a server program has + - * abs, >>, divide, isqrt, sign, minimum and maximum, and no others")

    __rmod__ = __pow__ = __rpow__ = __lshift__ = __rlshift__ = __rrshift__ = __mod__
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = __divmod__ = __rdivmod__ = __mod__

    def __index__(self) -> NoReturn:
        raise InputError(
            "a server program's values are known only in a round: expected operations on them alone, got one that "
            "needs a number now, such as float(), int(), math.sqrt() or range()"
        )

    __int__ = __float__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = __index__

    def __bool__(self) -> NoReturn:
        raise InputError("a server program has no branches: use sign, minimum and maximum")

    def __eq__(self, other: object) -> NoReturn:
        self.__bool__()

    __lt__ = __le__ = __gt__ = __ge__ = __eq__

    def _with(self, kind: Opcode, other: Value | int) -> Value:
        a, b = self.node, self.tape.value(other).node
        if kind in (Opcode.ADD, Opcode.MUL, Opcode.MIN, Opcode.MAX) and b < a:
            a, b = b, a
        return self.tape.put(kind, a, b)


@dataclass(frozen=True, slots=True)
class TracedScalars:
    """The round scalars, as traced values."""

    step: Value
    contributions: Value
    total_weight: Value
    total_steps: Value


Rule = Callable[[Value, tuple[Value, ...], TracedScalars], tuple[Value | int, Sequence[Value | int]]]
"""From q, the states and the round scalars to d and the new states."""


def divide(a: Value | int, b: Value | int) -> Value:
    """Return a / b rounded half to even; b is at least 1."""
    return a if isinstance(a, Value) and _is(b, 1) else _pair(Opcode.DIV, a, b)


def minimum(a: Value | int, b: Value | int) -> Value:
    return _pair(Opcode.MIN, a, b)


def maximum(a: Value | int, b: Value | int) -> Value:
    return _pair(Opcode.MAX, a, b)


def isqrt(a: Value) -> Value:
    """Return floor(sqrt(a)); a is at least 0."""
    return _one(Opcode.SQRT, a)


def sign(a: Value) -> Value:
    """Return -1, 0 or 1."""
    return _one(Opcode.SIGN, a)


def trace(rule: Rule, *, states: Sequence[StateBounds] = (), fraction_bits: int = 0) -> Program:
    """Compile rule to a program.

    Args:
        rule: Function of q, the states and the round scalars that returns d and the new states. Called once.
        states: Bounds and initial value of each state.
        fraction_bits: f; d is in units of 2^-f grid steps.

    Raises:
        InputError: The rule uses an unsupported operation, exceeds a limit of programs, or returns a wrong number of
            states; or `analyse` rejects the program.
    """
    tape = _Tape()
    q = tape.put("input", 0)
    old = tuple(tape.put("input", 1 + i) for i in range(len(states)))
    scalars = TracedScalars(*(tape.put("scalar", i) for i in range(len(SCALAR_BOUNDS))))
    made = rule(q, old, scalars)
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[1], tuple | list):
        raise InputError(f"expected the step and the new states, as in `return d, (m,)`, got {type(made).__name__}")
    d, new = made
    if len(new) != len(states):
        raise InputError(f"expected {len(states)} new states, got {len(new)}")
    program = _assemble(tape, [tape.value(x).node for x in (d, *new)], tuple(states), fraction_bits)
    analyse(program)
    return program


def server_program(*, states: Sequence[StateBounds] = (), fraction_bits: int = 0) -> Callable[[Rule], Program]:
    """Decorator that makes a function the program that it is traced to; arguments and errors as of `trace`."""
    return lambda rule: trace(rule, states=states, fraction_bits=fraction_bits)


def _assemble(tape: _Tape, results: list[int], states: tuple[StateBounds, ...], fraction_bits: int) -> Program:
    """Allocate registers for the nodes that the results need."""
    nodes = list(tape.nodes)
    needed = set(results)
    for node in range(len(nodes) - 1, -1, -1):
        if node in needed and isinstance(nodes[node][0], Opcode):
            needed.update(_operands(nodes[node]))
    constants = [node for node in sorted(needed) if nodes[node][0] == "constant"]
    work = [node for node in sorted(needed) if isinstance(nodes[node][0], Opcode)]
    first_constant = 1 + len(states)
    first_scalar = first_constant + len(constants)
    order = [*constants, *(None for _ in SCALAR_BOUNDS), *work]
    register = {node: first_constant + i for i, node in enumerate(order) if node is not None}
    for node, (kind, number, _) in enumerate(nodes):
        if kind == "input":
            register[node] = number
        elif kind == "scalar":
            register[node] = first_scalar + number
    operations = []
    for kind, a, b in (nodes[node] for node in work):
        assert isinstance(kind, Opcode)
        binary = len(_operands((kind, a, b))) == 2
        operations.append(Operation(kind, register[a], register[b] if binary else b))
    parameters = tuple(nodes[node][1] for node in constants)
    d, *new_states = (register[node] for node in results)
    return Program(states, fraction_bits, parameters, tuple(operations), d, tuple(new_states))


def _one(kind: Opcode, a: object) -> Value:
    if isinstance(a, Value):
        return a.tape.put(kind, a.node)
    raise InputError(f"{kind.name.lower()}: expected a traced value, got {a!r}")


def _pair(kind: Opcode, a: Value | int, b: Value | int) -> Value:
    for x in (a, b):
        if isinstance(x, Value):
            return x.tape.value(a)._with(kind, b)
    raise InputError(f"expected a traced value, got {a!r} and {b!r}")


def _operands(node: Node) -> tuple[int, ...]:
    kind, a, b = node
    assert isinstance(kind, Opcode)
    return Operation(kind, a, b).operands


def _is(x: object, number: int) -> bool:
    return isinstance(x, int) and x == number


def _whole(x: object) -> int:
    try:
        return operator.index(x)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"expected a whole number, got {x!r}: scale fractions to integers") from None
