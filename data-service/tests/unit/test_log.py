"""What reaches the log, and what does not."""

from __future__ import annotations

import logging

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
