"""Object storage in Google Cloud Storage, or whatever speaks its JSON API.

With ``STORAGE_EMULATOR_HOST`` set, that server is spoken to, without credentials.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import AssayError, InputError
from assay.storage.files import BucketNotFound, ObjectNotFound, disk_errors, new_file
from assay.storage.objects import GCS_SCHEME, GenerationMismatch, ObjectStore, Stored, Versioned, check_name

CONNECTIONS = 64
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


class GCSStore(ObjectStore):
    """Objects of a bucket, under a prefix.

    Args:
        root: ``gs://bucket`` or ``gs://bucket/prefix``.
        patience_seconds: Failures that may pass (no connection, too many requests, server errors) are retried for
            so long.
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
            data = blob.download_as_bytes(retry=self._retry)
        return Versioned(data, int(blob.generation))

    def write_bytes(self, name: str, data: bytes, *, if_generation: int | None = None) -> int:
        """See `ObjectStore.write_bytes`."""
        blob = self._blob(name)
        with self._errors(name, only_bucket=True):
            blob.upload_from_string(
                data, content_type="application/octet-stream", if_generation_match=if_generation, retry=self._retry
            )
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
        blob = self._blob(name)
        with disk_errors(path), self._errors(name, only_bucket=True):
            blob.upload_from_filename(str(path), checksum="crc32c", retry=self._retry)

    def download_file(self, name: str, path: Path) -> None:
        """See `ObjectStore.download_file`."""
        blob = self._blob(name)
        with new_file(path) as stage, disk_errors(path), self._errors(name):
            blob.download_to_filename(str(stage), checksum="crc32c", retry=self._retry)

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
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self.patience_seconds)

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
        except DataCorruption as error:
            raise AssayError(f"{uri}: the checksum of what arrived is wrong. Try again.") from error
        except (api.GoogleAPIError, requests.RequestException, auth.GoogleAuthError) as error:
            reason = " ".join(str(error).split())[:200]
            raise AssayError(
                f"{uri}: the storage service cannot be used ({reason}). Check the network and try again."
            ) from error
