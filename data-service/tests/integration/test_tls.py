"""A service with a certificate of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import trustme
from service_harness import SECRET, at, running_service, token

from cb_trade_client import DataClient, ServiceUnavailableError
from cb_trade_data.api.http_protocol import HttpProtocol
from cb_trade_data.config import TlsSettings
from cb_trade_data.config.loading import load_settings
from cb_trade_data.errors import InvalidSettingsError

COMMAND = str(Path(sys.executable).with_name("cb-trade"))
DAY = at("2024-01-01"), at("2024-01-02")


@pytest.fixture
def authority(tmp_path) -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority, tmp_path) -> dict[str, str]:
    """A certificate for this machine and its key, as settings."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / "certificate.pem", append=True)
    return {
        "CB_TRADE_TLS__CERTIFICATE_FILE": str(tmp_path / "certificate.pem"),
        "CB_TRADE_TLS__KEY_FILE": str(tmp_path / "key.pem"),
    }


async def test_the_sdk_connects_by_wss_to_a_service_whose_certificate_it_can_check(
    simulator, authority, files, tmp_path, monkeypatch
):
    environment = {
        "CB_TRADE_AUTH__SECRET": SECRET,
        "CB_TRADE_EXCHANGES__BINANCE__BASE_URL": simulator.base_url,
        "CB_TRADE_STORAGE__ROOT": str(tmp_path / "data"),
    }
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "serve",
        "--port=0",
        cwd=tmp_path,
        env=os.environ | environment | files,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        line = (await process.stdout.readline()).decode()
        url = f"wss://127.0.0.1:{line.strip().rsplit(':', 1)[1]}/ws/data"
        async with DataClient(url, token=token(), retries=0) as stranger:
            with pytest.raises(ServiceUnavailableError, match="certificate"):
                await stranger.history("binance", "BTC/USDT", "1m", *DAY)
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with DataClient(url, token=token(), retries=0) as client:
            history = await client.history("binance", "BTC/USDT", "1m", *DAY)
    finally:
        process.terminate()
        await process.communicate()

    assert line.startswith("listening on https://127.0.0.1:")
    assert len(history) == 1440


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["nothing", "the first bytes"])
async def test_a_handshake_that_never_ends_ends_the_connection(simulator, files, tmp_path, monkeypatch, said):
    monkeypatch.setattr(HttpProtocol, "head_timeout_secs", 0.1)
    tls = TlsSettings(certificate_file=tmp_path / "certificate.pem", key_file=tmp_path / "key.pem")
    async with running_service(tmp_path / "data", simulator.base_url, tls=tls) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(said)

        async with asyncio.timeout(20):  # by itself, asyncio gives up after a minute
            assert await reader.read() == b""
        writer.transport.abort()


def test_half_a_certificate_or_one_that_is_not_there_is_told_at_the_start(monkeypatch, files, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CB_TRADE_AUTH__SECRET", SECRET)
    (tmp_path / "nonsense.pem").write_text("nonsense")
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(tmp_path / "other.pem")

    def problem(**changes: str | None) -> str:
        for name, value in {**files, **{f"CB_TRADE_TLS__{key}": value for key, value in changes.items()}}.items():
            monkeypatch.setenv(name, value or "")
        with pytest.raises(InvalidSettingsError) as caught:
            load_settings(known_exchanges=[])
        [told] = caught.value.problems
        return told

    assert problem(KEY_FILE=None).startswith("CB_TRADE_TLS__KEY_FILE is missing")
    assert problem(CERTIFICATE_FILE=None).startswith("CB_TRADE_TLS__CERTIFICATE_FILE is missing")
    assert "cannot be read (No such file or directory)" in problem(KEY_FILE="gone.pem")
    assert "is not the key of the first certificate" in problem(KEY_FILE="other.pem")
    assert "hold no certificate and key in PEM" in problem(CERTIFICATE_FILE="nonsense.pem")
