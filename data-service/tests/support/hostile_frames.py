"""Frames that a client should not send: the same ones for the same seed, for the tests and for the bench."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, count
from typing import Final

from raw_websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame

MESSAGE_MAX_BYTES: Final = 64 * 1024  # what is larger is answered with an error
FRAMES_MAX_BYTES: Final = 1024 * 1024  # what is larger ends the connection

CLIMBING: Final = (
    "../../etc/passwd",
    "../" * 12 + "etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "..\\\\..\\\\windows\\\\win.ini",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252fetc",
    "..\\u0000/etc/passwd",
    "BTC/USDT\\u0000",
    "\\u2025/\\u2025/etc",  # TWO DOT LEADER
    "\\uff0e\\uff0e\\uff0fetc",  # full-width dots and solidus
    "..\\u2215..\\u2215etc",  # DIVISION SLASH
    "file:///etc/passwd",
    "~root",
    "CON",
    "BTC/USDT/../../../outside",
)
"""What climbs out of a folder where it is taken for a part of a path; spelled as inside a JSON string."""

_DEEP: Final = tuple(
    opening * depth + inside + closing * depth
    for depth in (100, 1_000, 1_023, 1_024, 1_025, 8_000)
    for opening, inside, closing in (("[", "", "]"), ('{"a":', "1", "}"))
)

_VALUES: Final = (
    *("null", "true", "false", "[]", "{}", "[1]", '{"a":1}', '[["binance"]]', '""', '" "'),
    *("0", "-0", "-0.0", "1", "-1", "1.5", "1e3", "1e400", "-1e400", "1e-400", "9" * 5_000, "-" + "9" * 5_000),
    *(str(sign * 2**power + more) for power in (31, 53, 63, 64) for sign in (1, -1) for more in (-1, 0, 1)),
    *("253402300799999", "253402300800000", "-62135596800000", "-62135596800001", "8640000000000001"),
    *("NaN", "Infinity", "-Infinity", "+1", "01", ".5", "1.", "0x10", "1_000", "'a'", "undefined", ""),
    *('"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\x00"', '"\\u12"', '"\x00"', '"\x7f"', '"'),
    *('"a"', '"' + "a" * 64 + '"', '"' + "a" * 65 + '"', '"' + "é" * 40 + '"', '"' + "x" * 60_000 + '"'),
    *('"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"9999-12-31T23:59:59-14:00"', '"0000-00-00"'),
    *('"0001-01-01T00:00:00+14:00"', '"2024-02-30T00:00:00Z"', '"2024-01-01T24:00:00Z"', '"2024-W01-1T00:00:00Z"'),
    *('"2024-01-01T00:00:00+99:99"', '"-2024-01-01T00:00:00Z"', '"２０２４-01-01T00:00:00Z"', '"20240101T000000Z"'),
    *('"2024-01-01T00:00:00.123456789Z"', '"1704067200000"', '"now"', '"2024-01-01"', '"2024-01-01T00:00:00"'),
    *('"binance"', '"BINANCE"', '"nowhere"', '"BTC/USDT"', '"btc/usdt"', '"BTC/USDT:USDT"', '"ETH/BTC"', '"__proto__"'),
    *('"1m"', '"5m"', '"1M"', '"0m"', '"-1m"', '"99999999999999d"', '"ohlcv"', '"trades"', '"json"', '"arrow"'),
    *('"json_columns"', '"request_historical"', '"plan_historical"', '"request_current_timestamp"'),
    *('"cancel_request"', '"authenticate"', '"historical_data_start"', '"{}"', '"%s%n"', '"${jndi:ldap://x}"'),
    *('"\\r\\nSet-Cookie: a=b"', '"\\u202egnp.exe"', '"\\u200b"', '"\\ufeff"', '"<script>"', '"\'; DROP TABLE"'),
    *(f'"{path}"' for path in CLIMBING),
    *_DEEP,
)
"""JSON, or what looks like it, as text: in the place of a field's value."""

_SERIES: Final = {"exchange": '"binance"', "symbol": '"BTC/USDT"', "timeframe": '"1m"'}
_RANGE: Final = {
    **_SERIES,
    "kind": '"ohlcv"',
    "start_time": "1704067200000",
    "end_time": '"2024-01-01T00:10:00Z"',
    "format": '"json"',
    "chunk_rows": "4",
    "refresh": "false",
}
_RIGHT: Final[tuple[dict[str, str], ...]] = (
    {"type": '"request_historical"', "request_id": "", **_RANGE},
    {"type": '"plan_historical"', "request_id": "", **_RANGE},
    {"type": '"request_current_timestamp"', "request_id": "", **_SERIES},
    {"type": '"cancel_request"', "request_id": ""},
    {"type": '"authenticate"', "request_id": "", "token": '"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0ZXN0In0.nobody"'},
)
_OTHER_FIELDS: Final = (
    *(
        "exchange_name",
        "coin_symbol",
        "fill",
        "derive",
        "token",
        "__class__",
        "",
        "\\u0000",
        "a" * 300,
        "Type",
        "type ",
        "é",
    ),
    *("constructor", "request_id\\u0000", "$ref", "details"),
)


@dataclass(frozen=True)
class Hostile:
    """Bytes on the wire, and what is due for them.

    Attributes:
        answers: How many last words: errors, or the ends of answers.
        pongs: How many pongs.
    """

    data: bytes
    answers: int
    pongs: int = 0


@dataclass(frozen=True)
class Breach:
    """Bytes that end a connection.

    Attributes:
        codes: Those that it may be closed with; None among them: the end may come without a close frame.
    """

    name: str
    data: bytes
    codes: frozenset[int | None]


# --- What is answered ---


def answerable(seed: int) -> Iterator[Hostile]:
    """Yield frames without end, each with its due: first every field of every message with every value, then chance."""
    chance = random.Random(seed)
    ids = count()
    for text in chain(_each_field_with_each_value(ids), _by_chance(chance, ids)):
        yield _sent(chance, text)


def _each_field_with_each_value(ids: Iterator[int]) -> Iterator[bytes]:
    for right in _RIGHT:
        for field in right:
            for value in _VALUES:
                yield _text(_identified(right, ids) | {field: value})
            yield _text({name: value for name, value in _identified(right, ids).items() if name != field})


def _by_chance(chance: random.Random, ids: Iterator[int]) -> Iterator[bytes]:
    kinds = (_changed, _changed, _changed, _repeated, _cut, _flipped, _noise, _deep)
    while True:
        yield chance.choice(kinds)(chance, ids)


def _identified(right: Mapping[str, str], ids: Iterator[int]) -> dict[str, str]:
    return {**right, "request_id": f'"f{next(ids)}"'}


def _text(fields: Mapping[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode()


def _changed(chance: random.Random, ids: Iterator[int]) -> bytes:
    """One to three fields with another value, another name, or new."""
    fields = _identified(chance.choice(_RIGHT), ids)
    for _ in range(chance.randint(1, 3)):
        name = chance.choice([*fields, *_OTHER_FIELDS])
        fields[name] = chance.choice(_VALUES)
    if chance.random() < 0.1:
        fields[chance.choice(_OTHER_FIELDS)] = fields.pop(chance.choice([*fields]))
    return _text(fields)


def _repeated(chance: random.Random, ids: Iterator[int]) -> bytes:
    """A key that is there twice, or many times."""
    fields = _identified(chance.choice(_RIGHT), ids)
    name = chance.choice([*fields])
    again = f'"{name}":{chance.choice(_VALUES)},' * chance.choice([1, 1, 2, 5])
    return b"{" + again.encode() + _text(fields)[1:]


def _cut(chance: random.Random, ids: Iterator[int]) -> bytes:
    text = _text(_identified(chance.choice(_RIGHT), ids))
    return text[: chance.randrange(len(text))]


def _flipped(chance: random.Random, ids: Iterator[int]) -> bytes:
    """Right but for some characters."""
    text = bytearray(_text(_identified(chance.choice(_RIGHT), ids)))
    for _ in range(chance.randint(1, 4)):
        text[chance.randrange(len(text))] = chance.randrange(128)
    return bytes(text)


def _noise(chance: random.Random, _: Iterator[int]) -> bytes:
    return chance.randbytes(chance.choice([0, 1, 2, 7, 60, 300])).decode("latin-1").encode()


def _deep(chance: random.Random, _: Iterator[int]) -> bytes:
    return chance.choice(_endless())


@cache
def _endless() -> tuple[bytes, ...]:
    """Nesting that never ends within a message, and a hundred thousand levels, of which a message has no room."""
    room = MESSAGE_MAX_BYTES
    few = tuple(text.encode() for text in _DEEP)
    return few * 8 + (b"[" * room, b'{"a":' * (room // 5), b"[{" * (room // 2), b"[" * 100_000)


def _sent(chance: random.Random, text: bytes) -> Hostile:
    """Return *text* as a message: mostly in one frame, else in several, or as binary, or padded to a great size."""
    mask = bytes(4) if chance.random() < 0.8 else chance.randbytes(4)
    match chance.randrange(400):
        case 0:
            text += b" " * (chance.choice([MESSAGE_MAX_BYTES, MESSAGE_MAX_BYTES + 1, 300_000]) - len(text))
            return Hostile(frame(text, mask=mask), 1)
        case 1 if len(text) < FRAMES_MAX_BYTES:
            return Hostile(frame(text + b" " * (FRAMES_MAX_BYTES - len(text)), mask=mask), 1)
        case kind if kind < 40:
            return _in_fragments(chance, text)
        case kind if kind < 60:
            return Hostile(frame(chance.choice([text, chance.randbytes(len(text) % 2_000)]), BINARY, mask=mask), 1)
        case kind if kind < 80:
            before = frame(chance.randbytes(chance.randrange(126)), chance.choice([PING, PONG]))
            return Hostile(before + frame(text, mask=mask), 1, pongs=before[0] == 0x80 | PING)
    return Hostile(frame(text, mask=mask), 1)


def _in_fragments(chance: random.Random, text: bytes) -> Hostile:
    """Return *text* in fragments, cut inside characters too, some of them empty, with pings and pongs between them."""
    cuts = sorted(chance.randint(0, len(text)) for _ in range(chance.randint(1, 12)))
    data, pongs = bytearray(), 0
    for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
        is_last = number == len(cuts)
        data += frame(text[begin:end], CONT if number else TEXT, fin=is_last, mask=chance.randbytes(4))
        if not is_last and chance.random() < 0.5:
            opcode = chance.choice([PING, PONG])
            pongs += opcode == PING
            data += frame(chance.randbytes(chance.randrange(126)), opcode)
    return Hostile(bytes(data), 1, pongs)


# --- What ends a connection ---

_PROTOCOL_ERROR: Final = frozenset({1002})
_NO_TEXT: Final = frozenset({1007})
_TOO_BIG: Final = frozenset({1009})


def breaches(seed: int) -> Iterator[Breach]:
    """Yield, without end, what ends a connection: each kind in turn, with payloads of chance."""
    chance = random.Random(seed)
    while True:
        yield from _broken_frames(chance)
        yield from _broken_texts(chance)
        yield from _broken_farewells(chance)
        yield from _too_large(chance)
        yield _endless_noise(chance)


def _broken_frames(chance: random.Random) -> Iterator[Breach]:
    some = chance.randbytes(chance.randrange(100))
    wrong = {
        "reserved opcode": frame(some, chance.choice([3, 4, 5, 6, 7])),
        "reserved control opcode": frame(some, chance.choice([11, 12, 13, 14, 15])),
        "reserved bits": frame(b"{}", rsv=chance.randint(1, 7)),
        "reserved bits of a ping": frame(some, PING, rsv=chance.randint(1, 7)),
        "not masked": frame(b"{}", mask=None),
        "a ping that is not masked": frame(some, PING, mask=None),
        "a ping that is too long": frame(bytes(126), PING),
        "a ping in fragments": frame(some, PING, fin=False),
        "a fragment of nothing": frame(some, CONT, fin=chance.random() < 0.5),
        "a message inside another": frame(b"{", fin=False) + frame(b"{}"),
        "binary inside text": frame(b"{", fin=False) + frame(b"{}", BINARY),
    }
    for name, data in wrong.items():
        yield Breach(name, data, _PROTOCOL_ERROR)


def _broken_texts(chance: random.Random) -> Iterator[Breach]:
    bad = chance.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe2\x82"])
    filler = chance.choice([b"", b'{"type":"', b"x" * 1_000])
    yield Breach("text that is no UTF-8", frame(filler + bad), _NO_TEXT)
    yield Breach("fragments that are no UTF-8", frame(filler, fin=False) + frame(bad, CONT), _NO_TEXT)


def _broken_farewells(chance: random.Random) -> Iterator[Breach]:
    code = chance.choice([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535]).to_bytes(2, "big")
    yield Breach("a close with a code that is none", frame(code, CLOSE), _PROTOCOL_ERROR)
    yield Breach("a close with half a code", frame(b"\x03", CLOSE), _PROTOCOL_ERROR)
    yield Breach("a close whose reason is no UTF-8", frame(b"\x03\xe8\xff\xfe", CLOSE), _NO_TEXT)
    yield Breach("a close that is too long", frame(b"\x03\xe8" + b"x" * 124, CLOSE), _PROTOCOL_ERROR)
    # Whether a message may be given up like this is not said.
    unfinished = frame(b"{", fin=False) + frame(b"\x03\xe8", CLOSE)
    yield Breach("a close in the middle of a message", unfinished, _PROTOCOL_ERROR | {1000})


def _too_large(chance: random.Random) -> Iterator[Breach]:
    too_many = FRAMES_MAX_BYTES + 1
    huge = chance.choice([too_many, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
    yield Breach("a frame that says it is too large", frame(b"x" * 100, length=huge), _TOO_BIG | _PROTOCOL_ERROR)
    yield Breach("a frame that is too large", frame(b" " * too_many, chance.choice([TEXT, BINARY])), _TOO_BIG)
    parts = [frame(b" " * (FRAMES_MAX_BYTES // 4), CONT if number else TEXT, fin=False) for number in range(4)]
    yield Breach("fragments that are too large", b"".join(parts) + frame(b"  ", CONT), _TOO_BIG)


def _endless_noise(chance: random.Random) -> Breach:
    """Bytes of chance: sooner or later, one of them is no frame's first."""
    noise = chance.randbytes(20_000)
    return Breach("noise", bytes([0x80 | chance.choice([3, 11])]) + noise, _PROTOCOL_ERROR)
