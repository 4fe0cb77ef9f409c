"""A browser can use the service, too: `examples/browser` in a real Chromium, at a real service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import WSMsgType, web
from chromium import Page, find_chromium, open_page
from golden_messages import answered
from service_harness import RunningService, at, ms, running_service, token

from cb_trade_client import DataClient, History
from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.faults import StatusFault

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "browser"

# Two weeks and some hours of minutes: more than one frame has room for. The exchange stood still for 80 minutes of it.
START, END = at("2023-03-12"), at("2023-03-26T06:00")
BEFORE_THE_LISTING = at("2017-08-17"), at("2017-08-17T04:00")

# Parts of the day of the outage: before it, well inside it, after it.
PARTS_OF_THE_DAY = (0.2, 0.5), (12.8 / 24, 13.9 / 24), (0.6, 0.9)

# Reads an answer as far as it goes, or until some rows have come, as a program of somebody else's would.
READ = """
    const { HistoryError, requestHistory } = await import("./history.js");
    const { AnswerDigest } = await import("./digest.js");
    const row = (batch, index) => Object.fromEntries(
        batch.schema.names.map((name) => [name, Number(batch.getChild(name).toArray().at(index))]));
    const { start, end, enough = Infinity, ...rest } = request;
    const wanted = { exchange: "binance", symbol: "BTC/USDT", timeframe: "1m", ...rest };
    const leaving = new AbortController();
    const answer = { rows: 0 };
    try {
        const span = { start: new Date(start), end: new Date(end) };
        const history = await requestHistory({ ...wanted, ...span, signal: leaving.signal });
        if (enough === 0) {
            leaving.abort();
            return answer;
        }
        const digest = new AnswerDigest(history.started.timeframe);
        for await (const batch of history) {
            digest.add(batch);
            answer.rows += batch.numRows;
            answer.first ??= row(batch, 0);
            answer.last = row(batch, -1);
            if (answer.rows >= enough) leaving.abort();
        }
        return { ...answer, chunks: history.chunks, receipt: history.receipt, digest: await digest.text() };
    } catch (error) {
        const { name, code, details } = error;
        return { ...answer, ours: error instanceof HistoryError, name, code, details };
    }
"""

# Fills in the form, sends it off and waits for the page to be done with it.
ASK = """
    const form = document.getElementById("request");
    for (const [name, value] of Object.entries(request)) form.elements[name].value = value;
    const status = document.getElementById("status");
    const done = new Promise((resolve) => {
        const look = () => ["done", "failed"].includes(status.dataset.state) && resolve();
        new MutationObserver(look).observe(status, { attributes: true });
    });
    form.requestSubmit();
    await done;
    const texts = (selector) => Array.from(document.querySelectorAll(selector), (found) => found.textContent);
    return {
        state: status.dataset.state,
        status: status.textContent,
        facts: Object.fromEntries(Array.from(document.querySelectorAll("#facts div"),
            (fact) => [fact.firstChild.textContent, fact.lastChild.textContent])),
        absences: texts("#absences li"),
        checks: texts("#checks li"),
        chart: document.getElementById("chart").ariaLabel,
    };
"""

# How many pixels of the chart's line lie between two parts of its width.
INKED = """
    const chart = document.getElementById("chart");
    const accent = getComputedStyle(document.querySelector("[type=submit]")).backgroundColor.match(/\\d+/g).map(Number);
    const plot = chart.width - 84 * devicePixelRatio; // less the margins
    const [from, to] = [first, last].map((part) => Math.round(8 * devicePixelRatio + part * plot));
    const { data } = chart.getContext("2d").getImageData(from, 0, Math.max(to - from, 1), chart.height);
    let inked = 0;
    for (let pixel = 0; pixel < data.length; pixel += 4)
        if (accent.every((part, index) => Math.abs(part - data[pixel + index]) < 8)) inked += 1;
    return inked;
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", autouse=True)
def _everything_is_installed() -> None:
    """Continuous integration leaves nothing out; elsewhere not everybody has a browser and npm."""
    lacking = [] if find_chromium() else ["there is no Chromium on this machine"]
    if not (FOLDER / "node_modules" / "apache-arrow").is_dir():
        lacking.append("apache-arrow is not installed: npm ci --prefix examples/browser")
    if lacking:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("; ".join(lacking))


class StandIn:
    """A service that says whatever a test wants, and then that it restarts."""

    def __init__(self) -> None:
        self.script: list[str | bytes] = []
        self.stays = False
        self.was_left = asyncio.Event()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["cb-trade.v1"])
        await socket.prepare(request)
        await socket.receive()
        for message in self.script:
            await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
        if self.stays:
            assert (await socket.receive()).type is WSMsgType.CLOSE
            self.was_left.set()
        await socket.close(code=1012)
        return socket


@dataclass
class Place:
    """A service, the page beside it, and a browser that has it open."""

    simulator: ExchangeSimulator
    service: RunningService
    page: Page
    address: str
    stand_in: StandIn

    async def read(self, start: datetime = START, end: datetime = END, **fields: Any) -> dict[str, Any]:
        request = {"url": self.service.socket_url, "token": token(), "start": ms(start), "end": ms(end)} | fields
        return await self.page.evaluate(READ, request=request)

    async def read_script(self, *script: str | bytes, **fields: Any) -> dict[str, Any]:
        """Read an answer that consists of these messages."""
        self.stand_in.script = list(script)
        return await self.read(url=self.address.replace("http", "ws").replace("index.html", "scripted"), **fields)

    async def ask(self, **fields: str) -> dict[str, Any]:
        """Fill in the form and send it off; return what the page shows when it is done."""
        access = {"url": self.service.socket_url, "token": token()}
        return await self.page.evaluate(ASK, request=access | fields)

    async def history(self, start: datetime = START, end: datetime = END) -> History:
        """Return what the SDK gets."""
        async with DataClient(self.service.socket_url, token=token()) as client:
            return await client.history("binance", "BTC/USDT", "1m", start, end)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    stand_in = StandIn()
    folder = web.Application()
    folder.router.add_get("/scripted", stand_in.serve)
    folder.router.add_static("/", FOLDER)
    runner = web.AppRunner(folder)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with (
            ExchangeSimulator(venue="binance", seed=1).serve() as simulator,
            running_service(tmp_path_factory.mktemp("data"), simulator.base_url) as service,
            open_page() as page,
        ):
            host, port = runner.addresses[0]
            place = Place(simulator, service, page, f"http://{host}:{port}/index.html", stand_in)
            await page.goto(place.address)
            yield place
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def place(started: Place) -> AsyncIterator[Place]:
    """Nothing may go wrong in the browser that it does not show."""
    started.page.complaints.clear()
    yield started
    assert started.page.complaints == []


@pytest_asyncio.fixture(loop_scope="module")
async def opened(place: Place) -> Place:
    """The page as if it had just been opened."""
    await place.page.goto(place.address)
    return place


async def test_every_row_that_was_asked_for_arrives_in_frames_of_thousands(place: Place):
    expected = (await place.history()).to_arrow()

    answer = await place.read()

    assert answer["rows"] == answer["receipt"]["rows"] == expected.num_rows > 16_384
    assert answer["chunks"] == answer["receipt"]["chunks"] > 1
    assert answer["receipt"]["exchange_calls"] == 0


async def test_values_are_those_that_the_sdk_gets(place: Place):
    history = await place.history()
    rows = history.to_arrow()
    numbers = rows.set_column(0, "timestamp", rows["timestamp"].cast("int64"))

    answer = await place.read()

    assert answer["first"] == numbers.slice(0, 1).to_pylist()[0]
    assert answer["last"] == numbers.slice(rows.num_rows - 1).to_pylist()[0]
    # Which every value has a part in.
    assert answer["digest"] == answer["receipt"]["digest"] == history.digest


async def test_a_digest_over_two_years_is_computed_as_the_service_does(place: Place):
    answer = await place.read(at("2022-11-01"), at("2023-02-01"), timeframe="1h")

    assert answer["digest"] == answer["receipt"]["digest"]


async def test_a_gap_is_told_with_its_reason(opened: Place):
    start, end = at("2024-05-01"), at("2024-05-02")
    opened.simulator.inject(StatusFault(503), times=None)

    answer = await opened.read(start, end, timeframe="1h")
    shown = await opened.ask(timeframe="1h", start="2024-05-01", end="2024-05-02")

    opened.simulator.clear_faults()
    async with opened.service.client() as client:
        await client.history_when_back(start, end, timeframe="1h")  # other tests need the exchange, too
    [gap] = answer["receipt"]["gaps"]
    assert (gap["start_time"], gap["end_time"], gap["state"]) == (ms(start), ms(end), "failed")
    [absence] = shown["absences"]
    assert absence.startswith("2024-05-01 00:00 to 2024-05-02 00:00: it could not be fetched (")
    assert "503" in gap["reason"]
    assert "503" in absence


def how_to_page(number: int, place: Place, **meant: str) -> str:
    """Return a program of the page, as it works for our service and with texts that mean something else."""
    page = (ROOT / "docs" / "how-to" / "use-from-a-browser.md").read_text()
    code: str = re.findall(r"^```js\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[number]
    for written, instead in {
        'import { requestHistory } from "./history.js";': 'const { requestHistory } = await import("./history.js");',
        "ws://127.0.0.1:8700/ws/data": place.service.socket_url,
        **meant,
    }.items():
        assert written in code
        code = code.replace(written, instead)
    return code


async def test_the_code_of_the_how_to_page_works(place: Place):
    code = how_to_page(0, place, **{"2024-02-01": "2024-01-02"})

    assert await place.page.evaluate(f"{code} return history.receipt.rows;", token=token()) == 1440


async def test_its_code_for_trades_and_funding_rates_adds_up_what_the_exchange_tells(place: Place):
    code = how_to_page(1, place, **{"T01:00Z": "T00:02Z"})

    told = await place.page.evaluate(
        f"{code} return {{ trades: trades.rows, volume, funding: funding.rows, rates }};", token=token()
    )

    start = at("2024-01-01")
    trades = place.simulator.trades("BTC/USDT", start, start + timedelta(minutes=2))
    funding = place.simulator.funding("BTC/USDT:USDT", start, at("2024-02-01"))
    assert (told["trades"], told["funding"]) == (len(trades), len(funding))
    assert told["volume"] == pytest.approx(
        np.where(trades["buyer_is_maker"], -trades["amount"], trades["amount"]).sum()
    )
    assert told["rates"] == pytest.approx(funding["rate"].sum())


async def test_an_answer_without_rows_is_an_answer(place: Place):
    answer = await place.read(*BEFORE_THE_LISTING)

    assert (answer["rows"], answer["chunks"], answer["receipt"]["rows"]) == (0, 0, 0)
    assert answer["digest"] == answer["receipt"]["digest"]


async def test_what_the_service_refuses_is_an_error_with_its_code(place: Place):
    refused = await place.read(symbol="BTCUSDT")

    assert (refused["ours"], refused["code"]) == (True, "unknown_symbol")
    assert refused["details"] == {"exchange": "binance", "symbol": "BTCUSDT"}


@pytest.mark.parametrize(
    ("bearer", "code"),
    [
        (token(secret="a secret of somebody else, long enough"), "token_invalid"),
        (token(lifetime=timedelta(minutes=-1)), "token_expired"),
        (token(scopes=["data:refresh"]), "forbidden"),
    ],
    ids=["forged", "expired", "narrow"],
)
async def test_a_token_that_is_refused_is_an_error_with_the_reason(place: Place, bearer: str, code: str):
    refused = await place.read(token=bearer)

    assert (refused["ours"], refused["code"]) == (True, code)


async def test_the_recorded_conversation_is_read_as_it_was_meant(place: Place):
    *_, receipt = answered("history_arrow")

    answer = await place.read_script(*answered("history_arrow"))

    assert answer["rows"] == answer["receipt"]["rows"] == 4
    assert answer["digest"] == json.loads(receipt)["digest"]


async def test_rows_that_came_before_a_drop_are_delivered(place: Place):
    start, chunk, rows, *_ = answered("history_arrow")

    answer = await place.read_script(start, chunk, rows)

    assert (answer["rows"], answer["ours"], answer["code"]) == (3, True, "connection_lost")


async def test_rows_that_came_before_an_error_are_delivered(place: Place):
    start, chunk, rows, *_ = answered("history_arrow")

    answer = await place.read_script(start, chunk, rows, *answered("error_to_retry"))

    assert (answer["rows"], answer["ours"], answer["code"]) == (3, True, "exchange_unavailable")


@pytest.mark.parametrize("lost", [slice(1, 3), slice(3, 5), slice(2, 3)], ids=["first", "last", "rows alone"])
async def test_a_chunk_that_was_lost_is_noticed(place: Place, lost: slice):
    script = answered("history_arrow")
    del script[lost]

    answer = await place.read_script(*script)

    assert (answer["ours"], answer["code"]) == (True, "protocol_violation")


@pytest.mark.parametrize("enough", [0, 3])
async def test_whoever_has_enough_leaves(place: Place, enough: int):
    start, chunk, rows, *_ = answered("history_arrow")
    place.stand_in.stays = True

    answer = await place.read_script(start, chunk, rows, enough=enough)

    await place.stand_in.was_left.wait()
    place.stand_in.stays = False
    place.stand_in.was_left.clear()
    assert answer["rows"] == enough
    assert answer.get("name", "AbortError") == "AbortError"


async def test_what_no_token_looks_like_is_not_even_sent(place: Place):
    refused = await place.read(token="of two words")

    assert (refused["ours"], refused["code"]) == (True, "invalid_value")


async def test_a_service_that_is_not_there_is_an_error(place: Place):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refused = await place.read(url=f"ws://127.0.0.1:{nobody.getsockname()[1]}/ws/data")

    assert (refused["ours"], refused["code"]) == (True, "service_unreachable")
    # Chromium itself complains of it.
    assert all("ERR_CONNECTION_REFUSED" in complaint for complaint in place.page.complaints)
    place.page.complaints.clear()


async def test_the_page_shows_what_came_and_what_did_not(opened: Place):
    history = await opened.history()

    shown = await opened.ask(timeframe="1m", start="2023-03-12", end="2023-03-26")

    rows = f"{14 * 1440 - 80:,}"
    assert shown["state"] == "done"
    assert shown["status"].startswith(f"{rows} rows in ")
    assert shown["facts"]["rows"] == shown["facts"]["from storage"] == rows
    assert shown["absences"] == ["2023-03-24 12:40 to 2023-03-24 14:00: the exchange has no candle here"]
    assert shown["checks"][0] == f"As many rows came as the receipt tells of: {rows}."
    first = history.to_arrow()["close"][0].as_py()
    assert shown["chart"].startswith(f"Closing prices of BTC/USDT: from {first:,}")


async def test_the_chart_is_blank_where_nothing_is(opened: Place):
    await opened.ask(timeframe="1m", start="2023-03-24", end="2023-03-25")
    inked = [await opened.page.evaluate(INKED, first=first, last=last) for first, last in PARTS_OF_THE_DAY]

    assert inked[0] > 0
    assert inked[1] == 0
    assert inked[2] > 0


async def test_months_that_an_exchange_lacks_at_the_edges_are_told(opened: Place):
    shown = await opened.ask(timeframe="1M", start="2017-05-15", end="2017-12-31")

    assert shown["absences"] == ["2017-06-01 00:00 to 2017-08-01 00:00: before the first candle"]
    assert shown["facts"]["rows"] == "5"


async def test_holes_are_found_between_the_bars_and_at_both_ends(place: Place):
    found = """
        const { HoleFinder } = await import("./bars.js");
        const finder = new HoleFinder(0, "1m");
        for (const minutes of pieces) finder.add(BigInt64Array.from(minutes, (minute) => BigInt(minute * 60_000)));
        finder.finish(10 * 60_000);
        return finder.holes.map((hole) => [hole.start_time / 60_000, hole.end_time / 60_000]);
    """

    assert await place.page.evaluate(found, pieces=[[1, 2], [4], [5, 8]]) == [[0, 1], [3, 4], [6, 8], [9, 10]]
    assert await place.page.evaluate(found, pieces=[[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]) == []
    assert await place.page.evaluate(found, pieces=[]) == [[0, 10]]


async def test_the_page_explains_what_went_wrong(opened: Place):
    shown = await opened.ask(symbol="BTCUSDT")

    assert shown["state"] == "failed"
    assert shown["status"].endswith("[unknown_symbol]")


async def test_a_request_can_be_asked_again_after_a_refusal(opened: Place):
    refused = await opened.ask(token="nonsense")
    shown = await opened.ask(timeframe="1h", start="2023-03-12", end="2023-03-14")

    assert refused["status"].endswith("[token_invalid]")
    assert shown["state"] == "done"
    assert shown["facts"]["rows"] == "48"
