"""Storage in an Azure Blob Storage container."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from itertools import compress
from typing import Any, Final, TypeVar

import pyarrow as pa
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import BlobLeaseClient, BlobPrefix, ContainerClient

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.storage.implementations.renewed_lock import LEASE_SECS, RenewedLock
from cb_trade_data.storage.in_order import in_order
from cb_trade_data.storage.interfaces import PartitionLock
from cb_trade_data.storage.layouts import Layout, StoredObject
from cb_trade_data.storage.object_storage import Content, ListedObject, ObjectStorage

T = TypeVar("T")

_CONCURRENT_ENTRIES: Final = 32
# What a day of two million trades says about itself takes 60 kB.
_END_BYTES: Final = 128 * 1024
_WORTH_PARTS_BYTES: Final = 512 * 1024
_LOCKS: Final = "_locks"
_NOT_AS_EXPECTED: Final = (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError)
_NO_CONTAINER: Final = {"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"}

# The HTTP 409s that say that somebody was quicker. Every other one is a refusal: of an archived blob, by a policy.
_SOMEBODY_WAS_QUICKER: Final = {
    "BlobAlreadyExists",
    "ContainerAlreadyExists",
    "LeaseAlreadyPresent",
    "LeaseIdMismatchWithLeaseOperation",
    "LeaseIsBreakingAndCannotBeAcquired",
    "LeaseIsBrokenAndCannotBeRenewed",
    "LeaseNotPresentWithLeaseOperation",
}


@dataclass(frozen=True)
class Patience:
    """How long an endpoint gets to answer; the SDK's own defaults take 80 s to notice a dead one.

    Attributes:
        tries: How often one call is tried.
        pause_secs: The pause before the second try; the third waits a second longer.
        connect_secs: How long a connection may take.
        read_secs: How long it may stay silent when an answer is due.
    """

    tries: int = 3
    pause_secs: float = 0.2
    connect_secs: float = 2.0
    read_secs: float = 10.0

    def options(self) -> dict[str, Any]:
        """Return this as the SDK's clients take it."""
        return {
            "retry_total": self.tries - 1,
            "initial_backoff": self.pause_secs,
            "increment_base": 1,
            "random_jitter_range": self.pause_secs,
            "connection_timeout": self.connect_secs,
            "read_timeout": self.read_secs,
        }


_PATIENCE: Final = Patience()


def open_container(
    name: str,
    *,
    connection_string: str | None = None,
    account_url: str | None = None,
    patience: Patience = _PATIENCE,
) -> ContainerClient:
    """Return the client of a container, with timeouts and retries of ours; nothing is called yet.

    Args:
        connection_string: Of the account, with its key or a SAS; or
        account_url: of the account. With a SAS as its query that is used, else `DefaultAzureCredential` signs in.
        patience: How long it gets to answer.
    """
    if connection_string is not None:
        return ContainerClient.from_connection_string(connection_string, name, **patience.options())
    if account_url is None:
        raise ValueError("a container is reached by a connection string or an account URL")
    credential = None if "?" in account_url else DefaultAzureCredential()
    return ContainerClient(account_url, name, credential=credential, **patience.options())


class AzureBlobStorage(ObjectStorage):
    """Objects are block blobs, versions are ETags, and replacing one is conditional on its ETag."""

    def __init__(self, container: ContainerClient, layout: Layout) -> None:
        """*container* is made when it is first written to, if that is allowed; it is closed with the storage."""
        super().__init__(layout)
        self._container = container
        self._is_container_known = False

    async def check_exists(self) -> None:
        """See `ObjectStorage.check_exists`."""
        try:
            # Listing is what whoever may only read can do; not so asking for the container's properties.
            async with _translated_errors("", ResourceNotFoundError):
                async for _ in self._container.list_blobs(results_per_page=1):
                    break
        except ResourceNotFoundError as error:
            raise StorageUnavailableError("", f"there is no container {self._container.container_name}") from error

    async def read_object(self, path: str, work: Callable[[StoredObject], T]) -> T | None:
        """See `ObjectStorage.read_object`."""
        try:
            async with _translated_errors(path, ResourceNotFoundError):
                download = await self._container.download_blob(path)
                data = await download.readall()
        except ResourceNotFoundError:
            return None
        return await asyncio.to_thread(work, StoredObject(path, pa.py_buffer(data), download.properties.etag))

    async def read_end(self, path: str, size_bytes: int, work: Callable[[StoredObject], T]) -> T | None:
        """See `ObjectStorage.read_end`. A second call, which asks for the size, for not downloading the rows."""
        try:
            async with _translated_errors(path, ResourceNotFoundError, ResourceModifiedError):
                blob = self._container.get_blob_client(path)
                found = await blob.get_blob_properties()
                download = await blob.download_blob(
                    offset=max(0, found.size - size_bytes),
                    length=size_bytes,
                    etag=found.etag,
                    match_condition=MatchConditions.IfNotModified,
                )
                data = await download.readall()
        except ResourceNotFoundError:
            return None
        except ResourceModifiedError:  # replaced in between: its end is elsewhere now
            return await self.read_object(path, work)
        return await asyncio.to_thread(work, StoredObject(path, pa.py_buffer(data), str(found.etag)))

    async def read_part(
        self, path: str, bytes_of: Callable[[StoredObject], range], work: Callable[[StoredObject], T]
    ) -> T | None:
        """See `ObjectStorage.read_part`. Two calls more than for all of it, which a small object is not worth."""
        try:
            async with _translated_errors(path, ResourceNotFoundError, ResourceModifiedError):
                blob = self._container.get_blob_client(path)
                found = await blob.get_blob_properties()
                if found.size <= _WORTH_PARTS_BYTES:
                    return await self.read_object(path, work)
                # Memory that is not written to is none yet.
                data = mmap.mmap(-1, found.size)
                stored = StoredObject(path, pa.py_buffer(data), str(found.etag))

                async def get(part: range) -> None:
                    if part:
                        download = await blob.download_blob(
                            offset=part.start,
                            length=len(part),
                            etag=found.etag,
                            match_condition=MatchConditions.IfNotModified,
                        )
                        data[part.start : part.stop] = await download.readall()

                end = range(found.size - _END_BYTES, found.size)
                await get(end)
                wanted = await asyncio.to_thread(bytes_of, stored)
                await get(range(wanted.start, min(wanted.stop, end.start)))
        except ResourceNotFoundError:
            return None
        except (ResourceModifiedError, ValueError):  # replaced in between, or its end does not tell
            return await self.read_object(path, work)
        return await asyncio.to_thread(work, stored)

    async def object_version(self, path: str) -> str | None:
        """See `ObjectStorage.object_version`."""
        try:
            async with _translated_errors(path, ResourceNotFoundError):
                properties = await self._container.get_blob_client(path).get_blob_properties()
        except ResourceNotFoundError:
            return None
        return str(properties.etag)

    async def put_object(self, path: str, content: Content, expected_version: str | None) -> str:
        """See `ObjectStorage.put_object`."""
        await self._ensure_container()
        data = await asyncio.to_thread(content) if callable(content) else content
        condition: dict[str, Any] = {"overwrite": False}
        if expected_version is not None:
            condition = {
                "overwrite": True,
                "etag": expected_version,
                "match_condition": MatchConditions.IfNotModified,
            }
        try:
            async with _translated_errors(path, *_NOT_AS_EXPECTED), self._writing(path):
                blob = self._container.get_blob_client(path)
                written = await blob.upload_blob(bytes(data), **condition)
        except _NOT_AS_EXPECTED as error:
            raise VersionConflictError(path) from error
        return str(written["etag"])

    async def get_entries(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """See `ObjectStorage.get_entries`."""
        found = await _some_at_once(self._entry, paths)
        return {path: data for path, data in zip(paths, found, strict=True) if data is not None}

    async def put_entries(self, entries: Mapping[str, bytes]) -> list[str]:
        """See `ObjectStorage.put_entries`."""

        async def is_occupied(path: str) -> bool:
            try:
                async with _translated_errors(path, ResourceExistsError), self._writing(path):
                    await self._container.get_blob_client(path).upload_blob(entries[path], overwrite=False)
            except ResourceExistsError:
                # Perhaps by ourselves: the SDK repeats an upload of which it did not hear back.
                return await self._entry(path) != entries[path]
            return False

        if entries:
            await self._ensure_container()
        paths = list(entries)
        return list(compress(paths, await _some_at_once(is_occupied, paths)))

    async def delete_entries(self, paths: Sequence[str]) -> None:
        """See `ObjectStorage.delete_entries`."""

        async def delete(path: str) -> None:
            with suppress(ResourceNotFoundError):
                async with _translated_errors(path, ResourceNotFoundError):
                    await self._container.delete_blob(path)

        await _some_at_once(delete, paths)

    async def list_objects(self, folder: str, *, with_entries: bool = True) -> AsyncGenerator[ListedObject, None]:
        """See `ObjectStorage.list_objects`."""
        async with _translated_errors(folder):
            try:
                if self._layout.has_entries and not with_entries:
                    for each in await self._list_without_entries(folder):
                        yield each
                    return
                async for blob in self._container.list_blobs(name_starts_with=f"{folder}/" if folder else None):
                    if not blob.name.startswith(f"{_LOCKS}/"):
                        yield ListedObject(blob.name, blob.size)
            except ResourceNotFoundError:
                return  # No container yet, so no objects.

    async def delete_object(self, path: str, version: str) -> bool:
        """See `ObjectStorage.delete_object`."""
        try:
            async with _translated_errors(path, ResourceModifiedError, ResourceNotFoundError):
                await self._container.delete_blob(path, etag=version, match_condition=MatchConditions.IfNotModified)
        except (ResourceModifiedError, ResourceNotFoundError):
            return False
        return True

    async def try_lock_object(self, path: str) -> PartitionLock | None:
        """See `ObjectStorage.try_lock_object`."""
        await self._ensure_container()
        name = f"{_LOCKS}/{path}"
        blob = self._container.get_blob_client(name)
        try:
            with suppress(ResourceExistsError):
                async with _translated_errors(name, ResourceExistsError), self._writing(name):
                    await blob.upload_blob(b"", overwrite=False)
            async with _translated_errors(name, ResourceExistsError), self._writing(name):
                return BlobLock(name, await blob.acquire_lease(LEASE_SECS))
        except ResourceExistsError:
            return None  # Somebody has the lease; the SDK takes the HTTP 409 for an object that exists already.

    async def close(self) -> None:
        """See `IRawDataStorage.close`."""
        await self._container.close()
        if isinstance(credential := self._container.credential, DefaultAzureCredential):
            await credential.close()

    async def _entry(self, path: str) -> bytes | None:
        try:
            async with _translated_errors(path, ResourceNotFoundError):
                download = await self._container.download_blob(path)
                return bytes(await download.readall())
        except ResourceNotFoundError:
            return None

    async def _list_without_entries(self, folder: str) -> list[ListedObject]:
        """List folder by folder, around those of entries: a month of minutes has as many as nine pages of a listing."""
        objects: list[ListedObject] = []
        folders = [folder]
        while folders:
            async for found in self._container.walk_blobs(name_starts_with=f"{folders.pop()}/", delimiter="/"):
                if not isinstance(found, BlobPrefix):
                    objects.append(ListedObject(found.name, found.size))
                elif not self._paths.is_entry_folder(inner := found.name.removesuffix("/")):
                    folders.append(inner)
        return sorted(objects, key=lambda each: each.path)

    @asynccontextmanager
    async def _writing(self, path: str) -> AsyncIterator[None]:
        """Without a container no object is as expected: say so, and try to make it the next time."""
        try:
            yield
        except AzureError as error:
            if _code(error) not in _NO_CONTAINER:
                raise
            self._is_container_known = False
            raise StorageUnavailableError(path, f"no container, and none could be made: {_code(error)}") from error

    async def _ensure_container(self) -> None:
        if self._is_container_known:
            return
        async with _translated_errors(self._container.container_name):
            try:
                await self._container.create_container()
            except HttpResponseError as error:
                # Whoever may only read and write objects finds the container made by somebody else.
                is_there = _code(error) == "ContainerAlreadyExists"
                if not is_there and error.status_code != HTTPStatus.FORBIDDEN:
                    raise
        self._is_container_known = True


class BlobLock(RenewedLock):
    """A lease on a blob."""

    def __init__(self, name: str, lease: BlobLeaseClient, lease_secs: float = LEASE_SECS) -> None:
        super().__init__(name, lease_secs)
        self._lease = lease

    async def _renew(self) -> bool:
        try:
            async with _translated_errors(self._name, *_NOT_AS_EXPECTED):
                await self._lease.renew()
        except _NOT_AS_EXPECTED:
            return False
        return True

    async def _end(self) -> None:
        with suppress(AzureError):
            await self._lease.release()


async def _some_at_once(work: Callable[[str], Coroutine[Any, Any, T]], paths: Sequence[str]) -> list[T]:
    """Return what *work* gives for each path, in their order. The first failure cancels the rest and is raised."""
    async with aclosing(in_order(work, paths, _CONCURRENT_ENTRIES)) as results:
        return [each async for each in results]


@asynccontextmanager
async def _translated_errors(path: str, *expected: type[AzureError]) -> AsyncIterator[None]:
    """Make the SDK's errors ours, except those *expected* ones that tell what is, or is not, there."""
    try:
        yield
    except AzureError as error:
        is_refusal = isinstance(error, ResourceExistsError) and _code(error) not in _SOMEBODY_WAS_QUICKER
        if isinstance(error, expected) and not is_refusal:
            raise
        raise StorageUnavailableError(path, _reason(error)) from error


def _reason(error: AzureError) -> str:
    """Return what happened, without the SDK's text, which holds addresses, and in them perhaps a signature."""
    status, code, cause = getattr(error, "status_code", None), _code(error), _cause(error)
    reason = type(error).__name__ + (f", HTTP {status}" if status else "") + (f" {code}" if code else "")
    return f"{reason}: {cause}" if cause else reason


def _code(error: AzureError) -> str | None:
    """Return the service's own name for what happened."""
    code = getattr(error, "error_code", None)
    return None if code is None else str(code.value if isinstance(code, Enum) else code)


def _cause(error: AzureError) -> str | None:
    """Return what the operating system said, or else the kind of failure underneath: neither holds an address."""
    cause = error.inner_exception
    if isinstance(cause, OSError) and cause.errno:
        # Below zero are those of name resolution, which only their own text tells.
        return os.strerror(cause.errno) if cause.errno > 0 else cause.strerror
    return None if cause is None else type(cause).__name__
