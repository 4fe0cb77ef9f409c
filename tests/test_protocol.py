"""What machines and people read of the protocol says the same, and the same as the code."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import orjson
import pyarrow as pa
import pytest
from golden_messages import CONVERSATIONS, FILES, answered, asked, is_request, message_of, name_of, rows_of
from jsonschema_rs import Draft7Validator, Draft202012Validator, meta
from pydantic import SecretStr
from wire_contract import ASYNCAPI, DOCS, REQUESTS, answer_problem, request_problem

from cb_trade_client.kinds import WITHOUT_BARS
from cb_trade_client.schemas import schema_of
from cb_trade_data.api.connection import CLOSE_READER_STOPPED, CLOSE_RESTARTING, ConnectionLimits
from cb_trade_data.api.handshake import CLOSE_FORBIDDEN, CLOSE_TRY_AGAIN_LATER, CLOSE_UNAUTHENTICATED
from cb_trade_data.api.incoming import MESSAGE_MAX_BYTES
from cb_trade_data.config import AuthSettings, Settings
from cb_trade_data.errors import ErrorCode
from cb_trade_data.historical.receipt import SEGMENTS_MAX
from cb_trade_data.main import create_app
from cb_trade_data.models.market import SCHEMAS as SCHEMAS_OF_ROWS
from cb_trade_data.models.messages import MESSAGE_TYPES, Fill, WireFormat
from cb_trade_data.models.series import Kind
from cb_trade_data.server import server_config
from cb_trade_data.storage.coverage import State

PAGE = (DOCS / "topics" / "protocol.md").read_text()
CHANNEL = ASYNCAPI["channels"]["data"]
SCHEMAS = ASYNCAPI["components"]["schemas"]
# Over HTTP, or at the start of the service: never on the socket.
ELSEWHERE = {ErrorCode.UNKNOWN_PATH, ErrorCode.METHOD_NOT_ALLOWED, ErrorCode.INVALID_SETTINGS}


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document."""
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(part)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def messages_on_the_page() -> list[Any]:
    found = []
    for block in blocks("json"):
        rest = block.strip()
        while rest:
            message, end = json.JSONDecoder().raw_decode(rest)
            found.append(message)
            rest = rest[end:].strip()
    return found


# --- The description for machines ------------------------------------------------------------------------------------


def test_every_reference_leads_somewhere():
    for reference in [node["$ref"] for node in nodes(ASYNCAPI) if "$ref" in node]:
        if not reference.startswith("#/"):
            assert (DOCS / reference).is_file(), reference
            continue
        target = ASYNCAPI
        for part in reference.removeprefix("#/").split("/"):
            assert part in target, reference
            target = target[part]


def test_a_reference_has_no_neighbours_which_older_drafts_would_not_look_at():
    assert [node for node in nodes(ASYNCAPI) if "$ref" in node and len(node) > 1] == []


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("draft", [Draft202012Validator, Draft7Validator])
def test_a_schema_is_one_of_both_drafts(name, draft):
    dialect = "https://json-schema.org/draft/2020-12/schema" if draft is Draft202012Validator else None
    meta.validate({"$schema": dialect or "http://json-schema.org/draft-07/schema#", **SCHEMAS[name]})
    draft({"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}})


def test_every_schema_is_used():
    named = {node["$ref"].rpartition("/")[2] for node in nodes(ASYNCAPI) if node.get("$ref", "").startswith("#")}

    assert set(SCHEMAS) - named == set()


def test_requests_are_complete_and_answers_leave_room():
    closed = {name for name, schema in SCHEMAS.items() if schema.get("additionalProperties") is False}

    assert closed == set(MESSAGE_TYPES) == set(REQUESTS)


@pytest.mark.parametrize("name", MESSAGE_TYPES)
def test_a_request_has_the_fields_that_the_service_reads(name):
    fields = MESSAGE_TYPES[name].model_fields
    names = {
        str(alias)
        for field, facts in fields.items()
        for alias in (facts.validation_alias.choices if facts.validation_alias else [field])
    }

    assert set(SCHEMAS[name]["properties"]) == names


def test_the_codes_are_those_of_the_service():
    on_the_socket, at_the_handshake = (
        SCHEMAS["error_code"]["enum"],
        SCHEMAS["handshake_refusal"]["properties"]["code"]["enum"],
    )
    refusals = [code for codes in CHANNEL["x-refused-handshake"]["statuses"].values() for code in codes]

    assert set(on_the_socket) | set(at_the_handshake) == set(ErrorCode) - ELSEWHERE
    assert set(on_the_socket) & set(at_the_handshake) == {
        ErrorCode.FORBIDDEN,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.OVERLOADED,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.AUTH_UNAVAILABLE,
        ErrorCode.TOKEN_INVALID,
        ErrorCode.TOKEN_EXPIRED,
    }
    assert sorted(refusals) == sorted(at_the_handshake)


@pytest.mark.parametrize("kind", Kind)
def test_the_columns_of_a_kind_are_those_of_the_service_and_of_the_sdk(kind):
    ours, theirs = SCHEMAS_OF_ROWS[kind], schema_of(kind)

    assert (theirs.names, theirs.types) == (ours.names, ours.types)
    # The SDK takes bars without a price, which no service sends.
    assert {field.name for field in ours if field.nullable} <= {field.name for field in theirs if field.nullable}
    assert kind is Kind.OHLCV or theirs.equals(ours)


def test_the_kinds_without_bars_are_the_same_to_the_sdk():
    assert set(WITHOUT_BARS) == set(Kind) - {Kind.OHLCV}


def test_the_words_are_those_of_the_service():
    assert SCHEMAS["format"]["enum"] == list(WireFormat)
    assert SCHEMAS["kind"]["enum"] == list(Kind)
    assert set(SCHEMAS["segment"]["properties"]["state"]["enum"]) == set(State)
    assert SCHEMAS["asked_fill"]["enum"] == list(Fill)


def test_the_limits_are_those_of_the_service():
    settings = Settings(_env_file=None, auth=AuthSettings(secret=SecretStr("a secret for tests, long enough to pass")))
    server, limits = server_config(create_app(settings)), ConnectionLimits()

    assert CHANNEL["x-limits"] == {
        "request_max_bytes": MESSAGE_MAX_BYTES,
        "request_closes_over_bytes": server.ws_max_size,
        "answer_max_bytes": 1024 * 1024,
        "running_requests": limits.running_requests,
        "open_requests": limits.open_requests,
        "request_rows": settings.limits.request_rows_max,
        "send_timeout_secs": limits.send_timeout_secs,
        "ping_interval_secs": server.ws_ping_interval,
        "ping_timeout_secs": server.ws_ping_timeout,
        "coverage_max_segments": SEGMENTS_MAX,
    }


def test_the_close_codes_are_those_of_the_service_and_on_the_page():
    codes = {int(code) for code in CHANNEL["x-close-codes"]}

    assert codes == {
        1009,
        CLOSE_RESTARTING,
        CLOSE_TRY_AGAIN_LATER,
        CLOSE_UNAUTHENTICATED,
        CLOSE_FORBIDDEN,
        CLOSE_READER_STOPPED,
    }
    assert {int(code) for code in re.findall(r"^\| (\d{4}) \|", PAGE, re.MULTILINE)} == codes


# --- What the contract refuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [file for file in FILES if is_request(file)], ids=name_of)
def test_a_request_with_a_field_that_nobody_knows_breaks_the_contract(message):
    request = orjson.loads(message_of(message))

    assert request_problem(request) is None
    assert request_problem({**request, "filled": "none"}) is not None


@pytest.mark.parametrize(
    "message", [file for file in FILES if file.suffix == ".json" and not is_request(file)], ids=name_of
)
def test_an_answer_without_a_field_or_with_one_that_is_not_described_breaks_the_contract(message):
    answer = orjson.loads(message_of(message))
    optional = {"digest", "missing_truncated", "derived_from", "fill", "synthetic_rows"}

    assert answer_problem(answer) is None
    assert answer_problem({**answer, "surprise": 1}) is not None
    for name in answer.keys() - optional:
        assert answer_problem({other: answer[other] for other in answer if other != name}) is not None, name


@pytest.mark.parametrize(
    "change",
    [
        {"exchange_name": "binance"},
        {"exchange": None},
        {"exchange": []},
        {"exchange": ["kraken", "any"]},
        {"exchange": ["kraken", "kraken"]},
        {"exchange": ["kraken", 5]},
        {"exchange": [f"venue_{number}" for number in range(17)]},
        {"symbol": ""},
        {"symbol": "€" * 30},
        {"symbol": "BTC/USDT\u200b"},
        {"kind": "trades"},
        {"kind": None},
        {"timeframe": ""},
        {"start_time": "2024-01-01"},
        {"start_time": "2024-01-01T00:00:00"},
        {"start_time": "1969-12-31T00:00:00Z"},
        {"start_time": -1},
        {"start_time": 1.5},
        {"start_time": 1e12},
        {"start_time": True},
        {"end_time": 10**30},
        {"format": "xml"},
        {"chunk_rows": 0},
        {"refresh": None},
        {"request_id": "x" * 65},
    ],
    ids=str,
)
def test_a_request_with_a_value_that_the_service_refuses_breaks_the_contract(change):
    assert request_problem(asked("history_json") | change) is not None


@pytest.mark.parametrize(
    "change",
    [{"request_id": None}, {"exchange": ["kraken"]}, {"timeframe": None}, {"chunk_rows": None}, {"start_time": 0}],
)
def test_a_request_with_a_value_at_its_limit_keeps_the_contract(change):
    assert request_problem(asked("history_json") | change) is None


# --- The recorded messages -------------------------------------------------------------------------------------------


def test_every_recorded_message_is_an_example_of_its_type_and_only_of_it():
    examples = {
        example["payload"]["$ref"].removeprefix("protocol-messages/"): message["name"]
        for message in ASYNCAPI["components"]["messages"].values()
        for example in message.get("examples", ())
    }

    assert examples == {name_of(file): file.stem.partition("_")[2] for file in FILES if file.suffix == ".json"}
    assert {orjson.loads(message_of(file))["type"] for file in FILES if file.suffix == ".json"} == set(
        examples.values()
    )


def test_every_message_has_an_example():
    messages = ASYNCAPI["components"]["messages"]

    assert [name for name, message in messages.items() if not message.get("examples")] == ["arrow_rows"]
    assert set(CHANNEL["messages"]) == set(messages)


@pytest.mark.parametrize(
    ("conversation", "same"),
    [("history_arrow", "history_json"), ("trades_arrow", "trades"), ("filled_arrow", "filled")],
)
def test_the_binary_messages_are_announced_and_are_one_stream_of_the_same_rows(conversation, same):
    messages = answered(conversation)
    announced = [orjson.loads(each).get("bytes") for each in messages if isinstance(each, str)]
    binary = [each for each in messages if isinstance(each, bytes)]

    table = pa.ipc.open_stream(b"".join(binary)).read_all()

    assert [size for size in announced if size is not None] == [len(each) for each in binary]
    times = table.column("timestamp").cast(pa.int64())
    assert table.set_column(0, "timestamp", times).to_pylist() == rows_of(same)


def columns_as_rows(conversation: str) -> list[dict[str, Any]]:
    chunks = [orjson.loads(message) for message in answered(conversation)]
    columns = [chunk["data"] for chunk in chunks if "data" in chunk]
    return [dict(zip(data, row, strict=True)) for data in columns for row in zip(*data.values(), strict=True)]


def test_the_columns_are_the_same_rows():
    assert columns_as_rows("history_json_columns") == rows_of("history_json")


# --- The page for people ---------------------------------------------------------------------------------------------


def test_every_message_on_the_page_is_a_recorded_one_and_every_type_is_shown():
    recorded = {message_of(file) for file in FILES}
    shown = messages_on_the_page()

    assert [message for message in shown if orjson.dumps(message).decode() not in recorded] == []
    assert {message["type"] for message in shown} == {
        message["name"] for key, message in ASYNCAPI["components"]["messages"].items() if key != "arrow_rows"
    }


def test_the_page_shows_each_conversation():
    shown = {orjson.dumps(message).decode() for message in messages_on_the_page()}

    assert [name for name in CONVERSATIONS if shown.isdisjoint(answered(name))] == []


def test_the_digest_on_the_page_is_computed_as_the_page_says():
    days = [rows_of("history_json")[:2], rows_of("history_json")[2:]]
    columns = {
        name: b"".join(struct.pack("<q" if name == "timestamp" else "<d", row[name]) for row in days[0])
        for name in days[0][0]
    }
    units = [
        sha256(
            b"".join(struct.pack("<q" if name == "timestamp" else "<d", row[name]) for name in columns for row in day)
        )
        for day in days
    ]
    whole = sha256(b"".join(unit.digest() for unit in units))

    cells = re.findall(r"^\| (.+?) \| `([0-9a-f]{32,})` \|$", PAGE, re.MULTILINE)
    assert cells[:6] == [(f"`{name}`", column.hex()) for name, column in columns.items()]
    assert [digest for _, digest in cells[6:]] == [units[0].hexdigest(), units[1].hexdigest(), whole.hexdigest()]


@pytest.mark.parametrize("conversation", ["history_json", "resume", "gaps"])
def test_the_code_on_the_page_computes_the_digests_of_the_receipts(conversation):
    (code,) = (block for block in blocks("python") if "def answer_digest" in block)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page's own

    receipt = orjson.loads(answered(conversation)[-1])

    assert names["answer_digest"](rows_of(conversation)) == receipt["digest"]
    trades, rates = ("id", "side", "price", "amount"), ("rate", "mark_price")
    assert names["answer_digest"](rows_of("trades"), trades) == orjson.loads(answered("trades")[-1])["digest"]
    funding = columns_as_rows("funding_rates")
    assert names["answer_digest"](funding, rates, "%Y") == orjson.loads(answered("funding_rates")[-1])["digest"]
    assert names["answer_digest"]([{**row, "volume": -0.0} for row in rows_of("history_json")]) == names[
        "answer_digest"
    ]([{**row, "volume": 0.0} for row in rows_of("history_json")])


def test_the_three_formats_have_one_receipt():
    receipts = {answered(name)[-1] for name in ("history_json", "history_json_columns", "history_arrow")}

    assert len(receipts) == 1
