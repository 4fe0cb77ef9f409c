"""`cb-trade quality`: how good a series is, and what says so."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import (
    AsJson,
    Exchange,
    OptionalEnd,
    OptionalStart,
    Symbol,
    TimeframeOfBars,
    Token,
    Url,
    end_or_newest,
)
from cb_trade_client.instants import to_text
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.terminal import say, status_line

if TYPE_CHECKING:
    from cb_trade_client.quality.report import QualityReport

MAX_MONTHS_SHOWN: Final = 24
MAX_SHOWN: Final = 20
NOT_ALL_TOLD: Final = (
    "not all gaps and findings are told, here or with --json: there are too many. The scores and the months count them "
    "all; a shorter range has them"
)


def _check_page(path: Path | None) -> Path | None:
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"the folder {path.parent} does not exist.")
    return path


def quality(
    exchange: Exchange,
    symbol: Symbol,
    timeframe: TimeframeOfBars,
    start: OptionalStart = None,
    end: OptionalEnd = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            callback=_check_page,
            dir_okay=False,
            metavar="FILE",
            help="Write a page with pictures as well: a calendar, gaps by reason, findings on a chart, the trend. One "
            "file, which needs no network.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    minimum: Annotated[
        float | None,
        typer.Option(
            "--minimum",
            min=0,
            max=1,
            metavar="SCORE",
            help="Exit with 1 if the overall score is below this, from 0 to 1, or if there is none.",
            show_default=False,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show how good the stored bars of a series are: four scores, and for each what it is made of.

    Completeness: held bars, of those that there may be. Consistency: rows with nothing odd in them. Freshness: a tenth
    less for each bar behind the newest closed one. Accuracy: bars that agree with those made of stored trades, or of
    stored shorter bars. Overall is the lowest of them. Then come the months, the gaps by reason, and what is odd.

    Nothing odd was changed or left out: it is stored, and fetched, as the exchange has it. Asks the exchange nothing.

    Without --start it begins where the service's knowledge begins; without --end either, it ends where that ends.

    Example: cb-trade quality binance BTC/USDT 1h --start 2020-01-01 --end 2021-01-01 --html report.html

    Example: cb-trade quality binance BTC/USDT 1h --minimum 0.8 --json > quality.json
    """
    from cb_trade_client.client import DataClient

    async def work() -> None:
        name = f"{exchange} {symbol} {timeframe}"
        until = end_or_newest(start, end) if start is not None else end
        pages: list[QualityReport] = []
        async with DataClient(url, token=token) as client:
            arriving = client.quality_pages(exchange, symbol, timeframe, start, until, details=True)
            with status_line(f"{name}: looking at the first days") as show:
                async for page in arriving:
                    pages.append(page)
                    if page.end is not None:
                        show(f"{name}: looked at it until {to_text(page.end)}")
        report = pages[0].followed_by(*pages[1:])
        try:
            with outcome.while_somebody_reads():
                if as_json:
                    outcome.show_json(report)
                else:
                    _show(report)
                if report.truncated:
                    say(NOT_ALL_TOLD, "warning")
        finally:  # Neither is lost where the other cannot be written.
            if html is not None:
                _write_page(report, html)
        if minimum is not None:
            _hold_against(report, minimum)

    outcome.run(work())


def _write_page(report: "QualityReport", path: Path) -> None:
    from datetime import UTC, datetime

    from cb_trade_client.output.whole_file import whole_file
    from cb_trade_client.quality.page import html_page

    with whole_file(path) as file:
        file.write(html_page(report, datetime.now(UTC)).encode())
    say(f"the page is in {path}")


def _hold_against(report: "QualityReport", minimum: float) -> None:
    from cb_trade_client.quality.words import score_text

    overall = report.scores.overall
    if overall is None:
        say(f"there is no score that could be {minimum:g} or more", "error")
    elif overall < minimum:
        say(f"{report.scores.lowest} {score_text(overall)} is below the minimum of {minimum:g}", "error")
    else:
        return
    raise typer.Exit(1)


def _show(report: "QualityReport") -> None:
    from cb_trade_client.fetch_command import fetch_command
    from cb_trade_client.quality.words import overall_line, score_lines, score_text
    from cb_trade_client.tables import Column, StandardOutput

    out = StandardOutput()
    name = f"{report.exchange} {report.symbol} {report.timeframe}"
    if report.start is None or report.end is None:
        out.line(f"{name}: nothing is known")
        say(f"to fetch it: {fetch_command(report.exchange, report.symbol, report.timeframe, 'TIME')}")
        return
    out.line(f"{name}  {to_text(report.start)} … {to_text(report.end)}", style="bold")
    out.line(overall_line(report))
    out.line()
    lines = [(name, score_text(score), made_of) for name, score, made_of in score_lines(report)]
    out.table([Column("SCORE"), Column("VALUE", is_number=True), Column("MADE OF", is_prose=True)], lines)
    _show_trend(report)
    _show_gaps(report)
    _show_findings(report)


def _show_trend(report: "QualityReport") -> None:
    from cb_trade_client.quality.trend import has_years, trend
    from cb_trade_client.quality.words import score_text
    from cb_trade_client.tables import Column, StandardOutput

    by_year = has_years(report.timeframe)
    periods = trend(report.days, by_year=by_year)
    if not periods:
        return
    numbers = ("COMPLETENESS", "CONSISTENCY", "EXPECTED", "HELD", "ROWS", "FLAGGED")
    out = StandardOutput()
    out.line()
    out.table(
        [Column("YEAR" if by_year else "MONTH"), *(Column(each, is_number=True) for each in numbers)],
        [
            (
                period.name,
                score_text(period.completeness),
                score_text(period.consistency),
                f"{period.expected_bars:,}",
                f"{period.held_bars:,}",
                f"{period.rows:,}",
                f"{period.flagged_rows:,}",
            )
            for period in periods[-MAX_MONTHS_SHOWN:]
        ],
    )
    if len(periods) > MAX_MONTHS_SHOWN:
        say(f"… and {len(periods) - MAX_MONTHS_SHOWN:,} months before; --json has all days")


def _show_gaps(report: "QualityReport") -> None:
    from cb_trade_client.quality.reasons import by_reason
    from cb_trade_client.quality.words import brief_text
    from cb_trade_client.tables import Column, StandardOutput

    out = StandardOutput()
    out.line()
    if not report.gaps:
        out.line("no time is without rows")
        return
    if report.truncated:
        out.line("of the gaps that are told: there may be more")
    numbers = ("GAPS", "BARS", "LONGEST")
    headings = ("STATE", *numbers, "FIRST FROM", "LAST UNTIL", "REASON")
    out.table(
        [Column(each, is_number=each in numbers, is_prose=each not in (*numbers, "STATE")) for each in headings],
        [
            (
                reason.state,
                f"{len(reason.gaps):,}",
                f"{reason.bars:,}",
                f"{reason.longest.bars:,}",
                brief_text(reason.first),
                brief_text(reason.until),
                reason.reason or "",
            )
            for reason in by_reason(report.gaps)
        ],
    )
    out.line()
    _show_single_gaps(report)


def _show_single_gaps(report: "QualityReport") -> None:
    from cb_trade_client.quality.reasons import worst_first
    from cb_trade_client.tables import Column, StandardOutput

    out = StandardOutput()
    if len(report.gaps) > MAX_SHOWN:
        out.line(f"the longest {_of_all(len(report.gaps), 'gaps', report)}, first those failed, unavailable or unknown")
    headings = ("FROM", "TO", "BARS", "STATE", "REASON")
    out.table(
        [Column(each, is_number=each == "BARS", is_prose=each == "REASON") for each in headings],
        [
            (to_text(gap.start), to_text(gap.end), f"{gap.bars:,}", gap.state, gap.reason or "")
            for gap in worst_first(report.gaps)[:MAX_SHOWN]
        ],
    )
    _say_more(len(report.gaps), "gaps", report)


def _show_findings(report: "QualityReport") -> None:
    from cb_trade_client.quality.codes import words_of
    from cb_trade_client.quality.words import factor_text, number_text
    from cb_trade_client.tables import Column, StandardOutput

    out = StandardOutput()
    out.line()
    if not report.findings:
        out.line("nothing odd was found")
        return
    if len(report.findings) > MAX_SHOWN:
        out.line(f"the first {_of_all(len(report.findings), 'findings', report)}")
    prose, numbers = ("FOUND", "IN"), ("VALUE", "USUAL", "FACTOR")
    out.table(
        [Column(each, is_number=each in numbers, is_prose=each in prose) for each in ("BAR", *prose, *numbers)],
        [
            (
                to_text(finding.time),
                words_of(finding.code),
                " ".join(finding.columns),
                number_text(finding.value),
                number_text(finding.usual),
                factor_text(finding),
            )
            for finding in report.findings[:MAX_SHOWN]
        ],
    )
    _say_more(len(report.findings), "findings", report)


def _of_all(count: int, what: str, report: "QualityReport") -> str:
    return f"{MAX_SHOWN} of {count:,} {what}{' that are told' if report.truncated else ''}"


def _say_more(count: int, what: str, report: "QualityReport") -> None:
    if count > MAX_SHOWN:
        told = "those that are told" if report.truncated else "all of them"
        say(f"… and {count - MAX_SHOWN:,} more {what}; --json has {told}")
