"""`cb-trade storage verify`: proof that what is stored is whole."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cb_trade_data.commands.opened_storage import run_with_storage
from cb_trade_data.commands.options import Json, parse_scope
from cb_trade_data.commands.terminal import (
    counted,
    is_progress_seen,
    print_json,
    print_table,
    progress_bar,
    size_text,
)

if TYPE_CHECKING:
    from cb_trade_data.storage.housekeeping.scope import Scope
    from cb_trade_data.storage.housekeeping.verification import Report
    from cb_trade_data.storage.object_storage import ObjectStorage

_EXIT_PROBLEMS: Final = 1


def verify(
    exchange: Annotated[str | None, typer.Argument(help="Only this exchange.", show_default=False)] = None,
    symbol: Annotated[str | None, typer.Argument(help="Only this symbol of it.", show_default=False)] = None,
    timeframe: Annotated[
        str | None,
        typer.Argument(
            help="Only the bars of this length, or only the trades, funding_rate or order_book.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read everything afresh and prove that it is whole and makes sense; change nothing.

    Exits with 0 if it is sound, with 1 if there are problems or there is nothing to verify. What merely takes up space
    is listed and is no problem.
    """
    scope = parse_scope(exchange, symbol, timeframe)
    (report, others, seconds), name = run_with_storage(lambda opened: _verify(opened, scope))
    if as_json:
        print_json(_report_to_json(report, others, name, seconds))
    else:
        _print_report(report, others, name, seconds)
    if report.problems or not report.partitions:
        raise typer.Exit(_EXIT_PROBLEMS)


async def _verify(opened: ObjectStorage, scope: Scope) -> tuple[Report, list[str], float]:
    """Return what was found, in which other layouts there is something if that is nothing, and the seconds it took."""
    from cb_trade_data.storage.housekeeping.other_layouts import other_layouts
    from cb_trade_data.storage.housekeeping.verification import Examined, Report, count_partitions
    from cb_trade_data.storage.housekeeping.verification import verify as examine

    report, started = Report(), time.monotonic()
    # Counting walks the whole tree once more: only for who watches.
    total = await count_partitions(opened, scope) if is_progress_seen() else None
    with progress_bar("verifying partitions", total) as advance:
        async with aclosing(examine(opened, scope)) as items:
            async for item in items:
                report.add(item)
                if isinstance(item, Examined) and item.found.partition is not None:
                    advance()
    others = [] if report.partitions else await other_layouts(opened, scope)
    return report, others, time.monotonic() - started


def _print_report(report: Report, others: list[str], name: str, seconds: float) -> None:
    findings = [
        (finding.kind, f"{finding.count:,}", finding.path, finding.detail)
        for finding in sorted(report.findings, key=lambda finding: not finding.kind.is_problem)
    ]
    print_table(("finding", "count", "where", "what"), findings, numbers=("count",))
    if report.is_truncated:
        typer.echo(f"… and {sum(report.counts.values()) - len(report.findings):,} more")
    for kind in report.counts:
        typer.echo(f"{kind}: {kind.advice}")
    for layout in others:
        typer.echo(f"there is something in the layout {layout}: CB_TRADE_STORAGE__LAYOUT={layout} verifies that")
    leftovers = sum(report.counts.values()) - report.problems
    verdict = "sound" if report.partitions else "nothing to verify"
    if report.problems:
        verdict = counted(report.problems, "problem")
    if leftovers:
        verdict += f", {counted(leftovers, 'leftover')}"
    typer.echo(
        f"{name}: {counted(report.partitions, 'partition')}, {counted(report.rows, 'row')}, "
        f"{size_text(report.size_bytes)} in {seconds:.1f} s: {verdict}"
    )


def _report_to_json(report: Report, others: list[str], name: str, seconds: float) -> dict[str, Any]:
    return {
        "storage": name,
        "code": report.code,
        "other_layouts": others,
        "partitions": report.partitions,
        "rows": report.rows,
        "bytes": report.size_bytes,
        "seconds": round(seconds, 3),
        "problems": report.problems,
        "counts": {str(kind): count for kind, count in report.counts.items()},
        "findings": [
            {
                "kind": str(finding.kind),
                "code": finding.kind.code,
                "is_problem": finding.kind.is_problem,
                "path": finding.path,
                "count": finding.count,
                "detail": finding.detail,
            }
            for finding in report.findings
        ],
        "findings_truncated": report.is_truncated,
    }
