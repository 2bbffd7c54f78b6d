"""Object storage in Google Cloud Storage, or whatever speaks its JSON API.

With ``STORAGE_EMULATOR_HOST`` set, that server is spoken to, without credentials.

What may pass is tried again, with growing waits drawn at random, for as long as nothing moves on: a download goes on
behind the bytes that have arrived, a long upload behind the last whole chunk. What arrived, here or there, is compared
with its CRC32C and sent anew where it differs.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from assay.errors import AssayError, InputError
from assay.storage.files import BucketNotFound, ObjectNotFound, disk_errors, new_file
from assay.storage.objects import GCS_SCHEME, GenerationMismatch, ObjectStore, Stored, Versioned, check_name

CONNECTIONS = 64
# What is lost where a long upload breaks; a multiple of 256 KiB, as the service asks.
UPLOAD_CHUNK = 16 * 2**20
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 20.0
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)

Result = TypeVar("Result")


class GCSStore(ObjectStore):
    """Objects of a bucket, under a prefix.

    Args:
        root: ``gs://bucket`` or ``gs://bucket/prefix``.
        patience_seconds: Failures that may pass (no connection, too many requests, server errors, a wrong checksum)
            are tried again for so long; it begins anew where a long transfer has moved on meanwhile.
    """

    def __init__(self, root: str, *, patience_seconds: float = 120.0) -> None:
        bucket, _, prefix = root.removeprefix(GCS_SCHEME).partition("/")
        if not root.startswith(GCS_SCHEME) or not BUCKET_NAME.fullmatch(bucket):
            raise InputError(f"storage root {root}: not of the form gs://bucket/prefix. Correct the bucket's name.")
        self.bucket_name = bucket
        self.prefix = check_name(prefix.strip("/"))
        self.patience_seconds = patience_seconds
        super().__init__(f"{GCS_SCHEME}{bucket}/{self.prefix}".rstrip("/"))

    def read(self, name: str) -> Versioned:
        """See `ObjectStore.read`."""
        blob = self._blob(name)
        with self._errors(name):
            data = self._again(lambda: blob.download_as_bytes(checksum="crc32c", retry=None))
        return Versioned(data, int(blob.generation))

    def write_bytes(self, name: str, data: bytes, *, if_generation: int | None = None) -> int:
        """See `ObjectStore.write_bytes`."""
        blob, condition = self._blob(name), if_generation

        def write() -> None:
            nonlocal condition
            kind = "application/octet-stream"
            blob.upload_from_string(
                data, content_type=kind, if_generation_match=condition, checksum="crc32c", retry=None
            )
            if condition is not None:
                condition = int(blob.generation)  # ours: where it arrived damaged, that is what is written over
            _compare(blob, _crc32c([data]))

        with self._errors(name, only_bucket=True):
            self._again(write)
        return int(blob.generation)

    def exists(self, name: str) -> bool:
        """See `ObjectStore.exists`."""
        blob = self._blob(name)
        with self._errors(name):
            return bool(blob.exists(retry=self._retry))

    def entries(self, prefix: str = "") -> Iterator[Stored]:
        """See `ObjectStore.entries`."""
        folder = self._full(check_name(prefix))
        start = len(self.prefix) + 1 if self.prefix else 0
        with self._errors(prefix, only_bucket=True):
            blobs = self._bucket.list_blobs(prefix=f"{folder}/" if folder else None, retry=self._retry)
            # Consoles make empty objects named `folder/` to show folders: they are no objects of ours.
            for blob in blobs:
                if not blob.name.endswith("/"):
                    yield Stored(blob.name[start:], int(blob.size), blob.updated.timestamp())

    def bytes_up_to(self, most: int) -> int:
        """Return the size of all objects under the root together; once it is over ``most``, no more are looked at."""
        total = 0
        with self._errors("", only_bucket=True):
            prefix = f"{self.prefix}/" if self.prefix else None
            for blob in self._bucket.list_blobs(prefix=prefix, fields="items(size),nextPageToken", retry=self._retry):
                total += int(blob.size or 0)
                if total > most:
                    break
        return total

    def is_empty(self) -> bool:
        """Return whether there is no object under the root; no more than a page of names is asked for."""
        with self._errors("", only_bucket=True):
            prefix = f"{self.prefix}/" if self.prefix else None
            blobs = self._bucket.list_blobs(prefix=prefix, page_size=100, retry=self._retry)
            return all(blob.name.endswith("/") for blob in blobs)

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        blob = self._blob(name)
        with contextlib.suppress(ObjectNotFound), self._errors(name):
            blob.delete(retry=self._retry)

    def upload_file(self, path: Path, name: str) -> None:
        """See `ObjectStore.upload_file`."""
        from google.api_core.exceptions import NotFound
        from google.cloud.storage.retry import DEFAULT_RETRY

        blob = self._blob(name)
        blob.chunk_size = UPLOAD_CHUNK
        chunks = DEFAULT_RETRY.with_delay(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS).with_timeout(self.patience_seconds)

        def upload() -> None:
            try:
                blob.upload_from_filename(str(path), checksum="crc32c", retry=chunks)
            except NotFound as error:
                if self._bucket_is_missing():
                    raise
                # The upload itself is gone: a service forgets those that it has ended, and whose end we did not hear.
                raise ConnectionError(str(error)) from error
            with path.open("rb") as file:
                _compare(blob, _crc32c(iter(lambda: file.read(2**20), b"")))

        with disk_errors(path), self._errors(name, only_bucket=True):
            self._again(upload)

    def download_file(self, name: str, path: Path) -> None:
        """See `ObjectStore.download_file`."""
        from google.api_core.exceptions import RetryError

        blob = self._blob(name)
        with new_file(path) as stage, disk_errors(path), self._errors(name), stage.open("w+b") as file:
            while True:
                arrived = file.tell()
                try:
                    self._again(lambda: self._fetch_rest(blob, file))
                    break
                except RetryError:
                    if file.tell() <= arrived:
                        raise

    def _fetch_rest(self, blob: Any, file: IO[bytes]) -> None:
        """Write what is missing of an object into a file, or raise; a file that is wrong is empty then."""
        from google.api_core.exceptions import RequestRangeNotSatisfiable
        from google.cloud.storage.exceptions import DataCorruption

        start = file.tell()
        try:
            blob.download_to_file(file, start=start or None, checksum="crc32c", retry=None)
            # Google's library compares whole answers alone; one that is unpacked on the way has no known sum.
            if start:
                blob.reload(retry=None)
                if blob.content_encoding != "gzip":
                    file.seek(0)
                    _compare(blob, _crc32c(iter(lambda: file.read(2**20), b"")))
        except (DataCorruption, RequestRangeNotSatisfiable) as error:
            file.seek(0)
            file.truncate()
            raise DataCorruption(None, str(error)) from error

    @functools.cached_property
    def _bucket(self) -> Any:
        from google.cloud import storage
        from requests.adapters import HTTPAdapter

        with self._errors(""):
            client = storage.Client(project=None)
            # Sources are read over more connections than the ten that a session keeps by itself.
            client._http.mount("https://", HTTPAdapter(pool_maxsize=CONNECTIONS))
            client._http.mount("http://", HTTPAdapter(pool_maxsize=CONNECTIONS))
            return client.bucket(self.bucket_name)

    @functools.cached_property
    def _retry(self) -> Any:
        from google.api_core.retry import Retry

        return Retry(
            predicate=_may_pass,
            initial=FIRST_WAIT_SECONDS,
            maximum=LONGEST_WAIT_SECONDS,
            timeout=self.patience_seconds,
        )

    def _again(self, action: Callable[[], Result]) -> Result:
        """Return what an action returns in the end; one that repeats nothing by itself."""
        result: Result = self._retry(action)()
        return result

    def _full(self, name: str) -> str:
        return "/".join(part for part in (self.prefix, name) if part)

    def _blob(self, name: str) -> Any:
        if not check_name(name):
            raise InputError(f"{self.root}: names a place, not an object. Add the object's name.")
        return self._bucket.blob(self._full(name))

    def _bucket_is_missing(self) -> bool:
        from google.api_core.exceptions import GoogleAPIError, NotFound

        try:
            next(iter(self._bucket.list_blobs(max_results=1, retry=self._retry)), None)
        except NotFound:
            return True
        except GoogleAPIError:
            return False
        return False

    @contextlib.contextmanager
    def _errors(self, name: str, *, only_bucket: bool = False) -> Iterator[None]:
        """Turn what Google's libraries raise into one line about an object.

        Args:
            name: The object.
            only_bucket: What is done (writing, listing) can miss nothing but the bucket.
        """
        import requests
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
        from google.cloud.storage.exceptions import DataCorruption

        uri = self.uri(name)
        try:
            yield
        except api.PreconditionFailed as error:
            raise GenerationMismatch(f"{uri}: changed by someone else. Read it again.") from error
        except api.NotFound as error:
            if only_bucket or self._bucket_is_missing():
                raise BucketNotFound(
                    f"{GCS_SCHEME}{self.bucket_name}: no such bucket. Correct the name, or create it with "
                    f"`gcloud storage buckets create {GCS_SCHEME}{self.bucket_name}`."
                ) from error
            raise ObjectNotFound(f"{uri}: no such object. Check the address.") from error
        except api.Forbidden as error:
            raise AssayError(
                f"{uri}: no permission. Give this account the role roles/storage.objectUser on "
                f"{GCS_SCHEME}{self.bucket_name}."
            ) from error
        except (api.Unauthorized, auth.DefaultCredentialsError, auth.RefreshError) as error:
            raise AssayError(
                f"{uri}: no valid Google credentials. Run `gcloud auth application-default login`, or set "
                "GOOGLE_APPLICATION_CREDENTIALS."
            ) from error
        except (api.GoogleAPIError, requests.RequestException, auth.GoogleAuthError, *_broken()) as error:
            last = error.cause if isinstance(error, api.RetryError) and error.cause else error
            reason = " ".join(str(last).split())[:200]
            if isinstance(error, api.RetryError):
                reason += f"; tried again for {self.patience_seconds:g} s without getting on, which is the limit"
            if isinstance(last, DataCorruption):
                raise AssayError(
                    f"{uri}: the checksum of what arrived is wrong, each time ({reason}). Try again, and look at "
                    "what lies between here and the storage."
                ) from error
            raise AssayError(
                f"{uri}: the storage service cannot be used ({reason}). Check the network and try again."
            ) from error


def _broken() -> tuple[type[Exception], ...]:
    """Return what connections and answers that break off raise, in the four libraries that are under one another."""
    import requests
    import urllib3
    from google.auth.exceptions import TransportError
    from google.cloud.storage.exceptions import DataCorruption

    return (
        DataCorruption,
        ConnectionError,
        requests.ConnectionError,
        requests.JSONDecodeError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
        http.client.HTTPException,
        urllib3.exceptions.HTTPError,
        TransportError,
    )


def _may_pass(error: Exception) -> bool:
    """Return whether the same request may be answered better in a while."""
    from google.api_core.exceptions import GoogleAPICallError

    if isinstance(error, GoogleAPICallError):
        # What arrived damaged is refused as a wrong request.
        return error.code in PASSING_STATUSES or (error.code == 400 and "match calculated" in str(error))
    return isinstance(error, _broken())


def _crc32c(blocks: Iterator[bytes] | list[bytes]) -> str:
    """Return the CRC32C of some bytes as the service writes it: big-endian, base64."""
    import google_crc32c

    total = 0
    for block in blocks:
        total = google_crc32c.extend(total, block)
    return base64.b64encode(total.to_bytes(4, "big")).decode()


def _compare(blob: Any, expected: str) -> None:
    """Raise DataCorruption where the service's object has another CRC32C than ours."""
    from google.cloud.storage.exceptions import DataCorruption

    if blob.crc32c != expected:
        raise DataCorruption(None, f"CRC32C {blob.crc32c} there, {expected} here")
