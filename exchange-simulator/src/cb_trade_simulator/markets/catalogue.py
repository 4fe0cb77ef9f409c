"""The pairs that are traded. A new one is a new row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from cb_trade_simulator.markets.market import Market

SPOT = (
    Market(
        symbol="BTC/USDT",
        listed=datetime(2017, 8, 17, 4, 0, tzinfo=UTC),
        price_decimals=2,
        amount_decimals=5,
        levels=(
            (date(2017, 8, 17), 4_300),
            (date(2017, 12, 17), 17_000),
            (date(2018, 2, 6), 8_000),
            (date(2018, 12, 15), 3_500),
            (date(2019, 6, 27), 11_000),
            (date(2020, 3, 16), 5_500),
            (date(2020, 10, 1), 11_000),
            (date(2021, 4, 14), 60_000),
            (date(2021, 7, 20), 32_000),
            (date(2021, 11, 9), 65_000),
            (date(2022, 11, 21), 17_000),
            (date(2024, 3, 13), 68_000),
            (date(2025, 1, 20), 98_000),
        ),
        daily_volatility=0.034,
        trades_per_minute=550,
        trade_value=1_000,
    ),
    Market(
        symbol="ETH/USDT",
        listed=datetime(2017, 8, 17, 4, 0, tzinfo=UTC),
        price_decimals=2,
        amount_decimals=4,
        levels=(
            (date(2017, 8, 17), 300),
            (date(2018, 1, 13), 1_250),
            (date(2018, 12, 15), 90),
            (date(2020, 3, 16), 120),
            (date(2021, 5, 10), 3_800),
            (date(2021, 11, 9), 4_500),
            (date(2022, 6, 18), 1_100),
            (date(2024, 3, 13), 3_700),
        ),
        daily_volatility=0.044,
        trades_per_minute=380,
        trade_value=800,
    ),
    Market(
        symbol="SOL/USDT",
        listed=datetime(2020, 8, 11, 6, 0, tzinfo=UTC),
        price_decimals=4,
        amount_decimals=3,
        levels=(
            (date(2020, 8, 11), 3),
            (date(2021, 1, 1), 2),
            (date(2021, 9, 9), 180),
            (date(2021, 11, 6), 240),
            (date(2022, 12, 29), 11),
            (date(2024, 3, 18), 190),
        ),
        daily_volatility=0.058,
        trades_per_minute=220,
        trade_value=500,
    ),
    Market(  # quiet: many minutes without a trade
        symbol="ADA/BTC",
        listed=datetime(2017, 11, 30, 6, 0, tzinfo=UTC),
        price_decimals=8,
        amount_decimals=0,
        levels=(
            (date(2017, 11, 30), 0.000_012),
            (date(2018, 1, 4), 0.000_065),
            (date(2018, 12, 15), 0.000_009),
            (date(2019, 12, 31), 0.000_005),
            (date(2021, 9, 2), 0.000_058),
            (date(2022, 12, 31), 0.000_015),
            (date(2024, 8, 1), 0.000_006),
        ),
        daily_volatility=0.042,
        trades_per_minute=1.6,
        trade_value=0.03,
    ),
    Market(  # cheap: a price of a few hundred ticks
        symbol="PEPE/USDT",
        listed=datetime(2023, 5, 5, 16, 0, tzinfo=UTC),
        price_decimals=8,
        amount_decimals=0,
        levels=(
            (date(2023, 5, 5), 0.000_002_6),
            (date(2023, 9, 1), 0.000_001_2),
            (date(2024, 5, 27), 0.000_014),
            (date(2025, 4, 7), 0.000_008),
        ),
        daily_volatility=0.075,
        trades_per_minute=9,
        trade_value=120,
    ),
)

BTC_USD = replace(SPOT[0], symbol="BTC/USD", trades_per_minute=40, trade_value=900)
"""For venues where dollars are traded, and which give that pair a name of its own."""

PERPETUALS = (
    replace(
        SPOT[0],
        symbol="BTC/USDT:USDT",
        listed=datetime(2019, 9, 8, 17, 57, tzinfo=UTC),
        price_decimals=1,
        amount_decimals=3,
    ),
    replace(
        SPOT[2],
        symbol="SOL/USDT:USDT",
        listed=datetime(2021, 10, 15, 8, 0, tzinfo=UTC),
        price_decimals=3,
        amount_decimals=1,
        funding_changes=((datetime(2023, 4, 1, tzinfo=UTC), 4),),
    ),
)

MARKETS = SPOT + PERPETUALS
