"""Answers of `/v1/quality`, as a service gives them: three days of 2020 with an outage, a failure and an odd price."""

from datetime import UTC, datetime

from cb_trade_client.instants import to_ms


def at(text):
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def day(date, rows=24, held=24, flagged=None):
    facts = {"expected_bars": 24, "held_bars": held, "rows": rows, "holes": held - rows, "flagged": flagged or {}}
    return {
        "start_time": at(date),
        "end_time": at(date) + 86_400_000,
        **facts,
        "low": 9000.5,
        "high": 9200.0,
        "close": 9100.25,
        "volume": 1234.5,
    }


def gap(start, end, state="held", reason="the exchange has no bars here"):
    bars = (at(end) - at(start)) // 3_600_000
    return {"start_time": at(start), "end_time": at(end), "bars": bars, "state": state, "reason": reason}


def evidence(days, **facts):
    flagged = {}
    for each in days:
        for code, count in each["flagged"].items():
            flagged[code] = flagged.get(code, 0) + count
    counted = {name: sum(each[name] for each in days) for name in ("expected_bars", "held_bars", "rows", "holes")}
    reach = {"newest_end": at("2020-07-01"), "bars_behind": None}
    return {
        **counted,
        "flagged": flagged,
        **reach,
        "compared_bars": 0,
        "differing_bars": 0,
        "compared_with": None,
        **facts,
    }


def page(start, end, days, gaps=(), findings=(), following=None, truncated=False, **facts):
    return {
        "start_time": at(start),
        "end_time": at(end),
        "scores": {},
        "evidence": evidence(days, **facts),
        "days": days,
        "gaps": list(gaps),
        "findings": list(findings),
        "truncated": truncated,
        "next": following and at(following),
    }


SPIKE = {"code": "DATA-009", "time": at("2020-06-29T05:00"), "columns": ["high"], "value": 91050.0, "usual": 9105.0}
PAGES = [
    page(
        "2020-06-27",
        "2020-06-28T04:00",
        [day("2020-06-27")],
        [gap("2020-06-28T02:00", "2020-06-28T04:00")],
        following="2020-06-28T04:00",
        compared_bars=24,
        differing_bars=0,
        compared_with="trades",
    ),
    page(
        "2020-06-28T04:00",
        "2020-06-30",
        [day("2020-06-28", rows=21), day("2020-06-29", held=22, rows=22, flagged={"DATA-009": 1})],
        [gap("2020-06-28T04:00", "2020-06-28T05:00"), gap("2020-06-29T22:00", "2020-06-30", "failed", "HTTP 503")],
        [SPIKE],
        compared_bars=40,
        differing_bars=2,
        compared_with="5m",
    ),
]
