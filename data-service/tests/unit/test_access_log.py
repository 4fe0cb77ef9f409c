from __future__ import annotations

import logging

import pytest

from cb_trade_data.api.access_log import RedactTokens

SECRET = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl-_x"


def logged(message: object, *arguments: object) -> str:
    record = logging.LogRecord("uvicorn.access", logging.INFO, __file__, 1, message, arguments, None)
    assert RedactTokens().filter(record) is True
    return record.getMessage()


def test_a_token_among_the_arguments_is_redacted_as_the_server_logs_it():
    line = logged('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", f"/ws/data?token={SECRET}", "1.1", 200)

    assert line == '127.0.0.1:5 - "GET /ws/data?[redacted] HTTP/1.1" 200'


def test_a_token_in_the_text_itself_is_redacted():
    assert logged(f'"WebSocket /ws/data?token={SECRET}" [accepted]') == ('"WebSocket /ws/data?[redacted]" [accepted]')


@pytest.mark.parametrize(
    ("path", "redacted"),
    [
        (f"/ws?a=1&token={SECRET}&b=2", "/ws?a=1&token=[redacted]&b=2"),
        (f"/ws?TOKEN={SECRET}", "/ws?TOKEN=[redacted]"),
        (f"/ws?token={SECRET}&token={SECRET}", "/ws?token=[redacted]&token=[redacted]"),
        (f"/ws?token=%20{SECRET}", "/ws?token=[redacted]"),
        ("/ws?token=", "/ws?token="),
        ("/ws?tokens=5", "/ws?tokens=5"),
        ("/ws?a=token", "/ws?a=token"),
    ],
)
def test_only_the_values_of_tokens_are_redacted(path, redacted):
    assert logged("%s", path) == redacted


def test_a_token_in_named_arguments_is_redacted():
    assert SECRET not in logged("%(path)s", {"path": f"/ws?token={SECRET}"})


@pytest.mark.parametrize("message", ["no arguments", "100 %", ""])
def test_a_line_without_a_token_passes_unchanged(message):
    assert logged(message) == message


def test_what_is_no_text_passes_unchanged():
    marker = object()

    assert logged(marker) == str(marker)
    assert logged("%d %s %s", 5, None, 1.5) == "5 None 1.5"
