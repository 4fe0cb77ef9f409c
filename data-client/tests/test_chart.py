"""The price chart."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from cb_trade_client.chart import CHART_HEIGHT, price_chart

FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def prices(closes, step=timedelta(minutes=1)):
    times = [FIRST + step * number for number in range(len(closes))]
    return pa.table(
        {"timestamp": pa.array(times, pa.timestamp("ms", tz="UTC")), "close": pa.array(closes, pa.float64())}
    )


@pytest.mark.parametrize("count", [1, 2, 50, 20_000])
@pytest.mark.parametrize("width", [40, 100, 150])
def test_the_chart_has_the_height_and_width_asked_for(count, width):
    lines = price_chart(prices([100.0 + number for number in range(count)]), "BTC/USDT", width=width).splitlines()

    assert len(lines) == CHART_HEIGHT
    assert max(map(len, lines)) <= width
    assert "BTC/USDT" in lines[0]


def test_a_chart_shows_first_and_last_day_and_the_range_of_prices():
    chart = price_chart(prices([42_000.0, 43_000.0, 41_500.5], step=timedelta(days=15)))

    for words in ("2024-01-01", "2024-01-31", "43,000", "41,50"):
        assert words in chart


def test_prices_far_below_one_can_be_told_apart():
    chart = price_chart(prices([0.00001234, 0.00001240, 0.00001250]))

    assert "0.000012" in chart


def test_a_rising_price_is_drawn_from_bottom_left_to_top_right():
    lines = price_chart(prices([1.0, 2.0, 3.0])).splitlines()
    drawn = [[at for at, sign in enumerate(line) if "\u2801" <= sign <= "\u28ff"] for line in lines]
    left_ends = [min(columns) for columns in drawn if columns]

    assert left_ends == sorted(left_ends, reverse=True)


def test_colour_is_there_only_when_asked_for():
    assert "\x1b" not in price_chart(prices([1.0, 2.0]))
    assert "\x1b" in price_chart(prices([1.0, 2.0]), colour=True)


def test_one_chart_leaves_nothing_behind_in_the_next():
    alone = price_chart(prices([1.0, 2.0]), "second")

    price_chart(prices([500.0, 900.0, 100.0]), "first", colour=True)

    assert price_chart(prices([1.0, 2.0]), "second") == alone


@pytest.mark.parametrize("closes", [[], [None, None]])
def test_nothing_to_draw_is_said_in_words(closes):
    assert price_chart(prices(closes), "BTC/USDT") == "BTC/USDT: nothing to draw"


def test_another_column_is_drawn_where_it_is_asked_for():
    rates = prices([0.0001, -0.0002]).rename_columns(["timestamp", "rate"])

    assert "-0.0002" in price_chart(rates, "funding", column="rate")


def test_bars_without_a_price_are_left_out():
    assert price_chart(prices([1.0, None, 2.0]))
