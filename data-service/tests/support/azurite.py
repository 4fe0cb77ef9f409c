"""Azurite, the Azure Blob emulator, as a child process."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "azurite" / "node_modules" / ".bin" / "azurite-blob"

# Azurite's own published account and key: no secret.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def is_installed() -> bool:
    return PROGRAM.exists()


@contextmanager
def running_azurite() -> Iterator[str]:
    """Run Azurite in memory on a free port; yield its connection string."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1"]
    process = subprocess.Popen(  # noqa: S603 - our own pinned program
        [PROGRAM, *arguments, "--blobPort", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "successfully listen" in line:
                break
        else:
            raise RuntimeError("Azurite did not start:\n" + "".join(said))
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{_ACCOUNT};"
        )
    finally:
        process.terminate()
        process.communicate()


def account_url(connection_string: str) -> str:
    """Return the address of the account."""
    return connection_string.split("BlobEndpoint=")[1].rstrip(";")


def shared_access_signature(container: str, *rights: str) -> str:
    """Return a SAS for an hour that gives these rights (`read`, `write`, …) on the container, and no others."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    return generate_container_sas(
        _ACCOUNT,
        container,
        account_key=_KEY,
        permission=ContainerSasPermissions(**dict.fromkeys(rights, True)),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
