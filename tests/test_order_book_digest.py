"""Order books have one digest, whoever computes it: the service from what it has, the SDK from what arrives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from cb_trade_client.digest import AnswerDigest as ArrivedDigest
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.market import ORDER_BOOK_SCHEMA
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange

START = datetime(2024, 2, 28, 12, tzinfo=UTC)


def test_the_service_and_the_sdk_compute_the_same_digest_of_order_books():
    rows = pa.Table.from_pylist(
        [
            {
                "timestamp": START + number * timedelta(hours=5),
                "bids": [[99.5 - level, -0.0 if level else 0.5] for level in range(number % 4)],
                "asks": [[100.5, 1e-8 * number], [101.0, 2.25]],
                "nonce": 2**53 + number,
            }
            for number in range(12)
        ],
        schema=ORDER_BOOK_SCHEMA,
    )
    told, arrived = (
        AnswerDigest(Series("binance", "BTC/USDT", Kind.ORDER_BOOK, None)),
        ArrivedDigest("order_book", None),
    )

    told.add(TimeRange(START, START + timedelta(days=7)), rows)
    for batch in rows.to_batches(max_chunksize=5):
        arrived.add(batch)

    assert told.text() == arrived.text()
