"""Into how many parts a source is preprocessed, by its size."""

from __future__ import annotations

from assay.config import DataConfig
from assay.errors import AssayError
from assay.observability.progress import log
from assay.storage.gcs import GCSStore
from assay.storage.open import is_remote

# Some minutes of decoding on two cores, and well below the memory of a pod.
BYTES_A_PART = 2 * 2**30
MOST_PARTS = 64


def parts_of(data: DataConfig) -> int:
    """Return the number of parts that the config asks for; where it leaves that to the size of a source, that number.

    Only a source in object storage has a size before a step has looked at it; any other is one part. One that cannot be
    looked at from here, which the step may be able to do, is one part too, and that is said.
    """
    if data.shards != "auto":
        return data.shards
    if not is_remote(data.source):
        return 1
    try:
        size = GCSStore(data.source).bytes_up_to(BYTES_A_PART * MOST_PARTS)
    except AssayError as error:
        log(f"data.shards: the size of the source is not known, so it is preprocessed in one part. {error}")
        return 1
    return max(1, min(MOST_PARTS, -(-size // BYTES_A_PART)))
