"""What reaches the log, and what does not."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from datetime import UTC, datetime

import pytest
import structlog

from cb_trade_data.server import configure_log

OF_THE_CLOUD = ["azure.core.pipeline.policies.http_logging_policy", "azure.identity.aio", "msal.token_cache", "urllib3"]


@pytest.mark.parametrize("level", ["debug", "info", "error"])
@pytest.mark.parametrize("name", OF_THE_CLOUD)
def test_the_sdk_of_the_cloud_logs_its_requests_at_no_level(capsys, level, name):
    """They come at info, several lines each."""
    configure_log(level)

    logging.getLogger(name).info("Request URL: https://account.blob.core.windows.net/…")

    assert capsys.readouterr().err == ""


def test_a_warning_of_the_sdk_is_logged(capsys):
    configure_log("info")

    logging.getLogger(OF_THE_CLOUD[0]).warning("retrying")

    assert "retrying" in capsys.readouterr().err


def test_what_we_log_ourselves_is_logged_from_the_chosen_level_on(capsys):
    configure_log("info")

    structlog.get_logger("cb_trade_data").info("storage.conflict")
    structlog.get_logger("cb_trade_data").debug("detail")

    logged = capsys.readouterr().err
    assert "storage.conflict" in logged
    assert "detail" not in logged


@pytest.mark.parametrize(
    "odd", ["\ud800", 2**70, {1: "a key that is no text"}, object()], ids=["surrogate", "number", "key", "object"]
)
def test_a_line_with_something_odd_in_it_is_logged_all_the_same(capsys, odd):
    configure_log("info")

    structlog.get_logger("cb_trade_data").info("request.refused", about=odd)

    assert json.loads(capsys.readouterr().err)["event"] == "request.refused"


def test_an_error_is_logged_with_its_traceback(capsys):
    configure_log("info")

    try:
        int("of the test")
    except ValueError:
        structlog.get_logger("cb_trade_data").exception("request.defect")

    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["event"]) == ("error", "request.defect")
    assert "of the test" in line["exception"]


def test_a_line_for_which_the_disk_has_no_room_is_lost_and_nothing_else(monkeypatch):
    class FullDisk(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        disk = io.BufferedWriter(FullDisk())
        patch.setattr(sys, "stderr", io.TextIOWrapper(disk))
        configure_log("info")
        for _ in range(1000):
            structlog.get_logger("cb_trade_data").info("request", about="x" * 100)
        with pytest.raises(OSError, match="no space left"):
            disk.close()
    configure_log("info")


def test_on_a_terminal_lines_are_for_people(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys.stderr, "isatty", lambda: True)
        configure_log("info")
        structlog.get_logger("cb_trade_data").info(
            "request", series="\u20ac/\ud800", start=datetime(2024, 1, 1, tzinfo=UTC)
        )
    configure_log("info")

    line = capsys.readouterr().err
    assert "request" in line
    assert "2024-01-01 00:00:00+00:00" in line
    assert not line.startswith("{")
