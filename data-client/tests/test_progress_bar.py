"""What a progress bar says; that it is drawn is for a terminal to show."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from cb_trade_client import progress_bar
from cb_trade_client.progress import Progress

START = datetime(2024, 1, 1, tzinfo=UTC)


def after(hours, rows, estimated_rows=None):
    return Progress(rows, 0, estimated_rows, START, START + timedelta(hours=10), START + timedelta(hours=hours))


@pytest.fixture
def drawn(monkeypatch):
    """Draw bars as on a terminal, and return what was on it."""
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True, no_color=True)
    monkeypatch.setattr(progress_bar, "Console", lambda **_: console)
    return screen.getvalue


def test_where_nobody_knows_the_number_of_rows_the_time_that_was_reached_is_shown(drawn):
    with progress_bar.progress_bar("binance BTC/USDT trades") as show:
        show(after(0, 0))
        show(after(4, 1_234_567))

    assert "binance BTC/USDT trades" in drawn()
    assert "1,234,567 rows until 2024-01-01 04:00" in drawn()


def test_where_the_number_is_known_it_is_shown(drawn):
    with progress_bar.progress_bar("binance BTC/USDT 1m") as show:
        show(after(4, 240, estimated_rows=600))

    assert "240 / 600 rows" in drawn()


@pytest.mark.parametrize(
    ("progress", "completed", "total"),
    [(after(4, 99), 4 * 3600, 10 * 3600), (after(4, 99, estimated_rows=600), 99, 600)],
    ids=["by time", "by rows"],
)
def test_the_bar_is_as_long_as_the_share_of_rows_or_of_the_range(progress, completed, total):
    assert (progress_bar._completed(progress), progress_bar._total(progress)) == (completed, total)
