"""A report as one page of HTML that needs nothing else: no network, no script, its pictures drawn in it. Pure."""

from base64 import b64encode
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from cb_trade_client.durations import duration_text
from cb_trade_client.instants import to_text
from cb_trade_client.quality.axes import TimeAxis
from cb_trade_client.quality.calendar import LEVELS, PITCH, calendar
from cb_trade_client.quality.codes import words_of
from cb_trade_client.quality.gap_strip import MOST_LANES, colour_of, gap_strip, piece_of
from cb_trade_client.quality.price_chart import OTHER_SHAPE, SHAPES, price_chart
from cb_trade_client.quality.reasons import by_reason, worst_first
from cb_trade_client.quality.report import QualityReport
from cb_trade_client.quality.trend import has_years, trend
from cb_trade_client.quality.trend_chart import trend_chart
from cb_trade_client.quality.words import brief_text, factor_text, number_text, score_lines, score_text

MOST_ROWS: Final = 100
"""How many gaps, and how many findings, are listed one by one; the pictures and the counts are of all that are told."""

FEW_ROWS: Final = 12
"""Lists that are not longer are open from the beginning."""

# In units of the pictures, which are as wide as the page is.
_WIDTH: Final = 800
_LEFT, _RIGHT = 84, _WIDTH - 12
_PRICES_TOP, _PRICES_BOTTOM = 12, 280
_TREND_TOP, _TREND_BOTTOM = 12, 140


def html_page(report: QualityReport, made_at: datetime) -> str:
    """Return *report* as a page; all that is not ours in it is escaped."""
    style = (files("cb_trade_client.quality") / "templates" / "style.css").read_text(encoding="utf-8")
    by_year, reasons = has_years(report.timeframe), by_reason(report.gaps)
    periods = trend(report.days, by_year=by_year)
    axis = None if report.start is None or report.end is None else TimeAxis(report.start, report.end, _LEFT, _RIGHT)
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            report=report,
            made_at=made_at,
            version=version("cb-trade-client"),
            style=style,
            style_hash=b64encode(sha256(style.encode()).digest()).decode(),
            scores=list(score_lines(report)),
            calendar=calendar(report),
            levels=LEVELS,
            pitch=PITCH,
            axis=axis,
            reasons=reasons,
            listed_gaps=worst_first(report.gaps)[:MOST_ROWS],
            lanes=[] if axis is None else gap_strip(reasons, axis),
            most_lanes=MOST_LANES,
            piece=None if axis is None else piece_of(axis),
            prices=None if axis is None else price_chart(report, axis, _PRICES_TOP, _PRICES_BOTTOM),
            shapes={code: SHAPES.get(code, OTHER_SHAPE) for code in sorted({each.code for each in report.findings})},
            trend=None if axis is None else trend_chart(periods, axis, _TREND_TOP, _TREND_BOTTOM),
            periods=periods,
            period_name="year" if by_year else "month",
            day_name="year" if by_year else "day",
            few_rows=FEW_ROWS,
            most_rows=MOST_ROWS,
            width=_WIDTH,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cb_trade_client.quality"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "time": to_text,
        "brief": brief_text,
        "score": score_text,
        "number": number_text,
        "code": words_of,
        "colour": colour_of,
        "factor": factor_text,
        "duration": duration_text,
    }
    return environment
