"""Storage that holds what it should not, or takes nothing: the client is told, or gets its rows all the same."""

from __future__ import annotations

import pyarrow.parquet as pq
from service_harness import at, historical

DAY = at("2024-01-01"), at("2024-01-02")


async def test_a_partition_of_a_later_release_is_refused_by_name_and_nothing_is_fetched_instead(
    client, simulator, tmp_path
):
    await client.history(*DAY)
    (file,) = tmp_path.rglob("part.parquet")
    later = pq.read_table(file).replace_schema_metadata({b"cb_trade.format": b"2"})
    file.unlink()
    pq.write_table(later, file)
    content = file.read_bytes()
    simulator.calls.reset()

    for fields in ({}, {"refresh": True}):
        reply = await client.history(at("2024-01-01"), at("2024-01-03"), **fields)
        assert (reply.last["type"], reply.last["code"], reply.last["retryable"]) == (
            "error_response",
            "newer_format",
            False,
        )
    other = await client.ask(historical(at("2024-03-01"), at("2024-03-02")))

    assert other["type"] == "historical_data_start"
    assert file.read_bytes() == content
    assert not (tmp_path / "data" / "_damaged").exists()
    assert all(int(query["startTime"]) >= DAY[1].timestamp() * 1000 for query in simulator.calls.queries("klines"))
