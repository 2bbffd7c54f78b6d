"""TensorFlow Datasets: ``tfds://name`` or ``tfds://name:version``, optionally ``?data_dir=folder``.

The package ``tensorflow_datasets`` is optional. Its records can only be read in sequence; they are therefore
written once, still encoded, into one folder a data set under the cache, and read from there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from assay.data.sources.base import Entry, Listing
from assay.data.sources.splits import split_of
from assay.errors import InputError, did_you_mean
from assay.observability.progress import Progress
from assay.storage.cache import cache_folder

SCHEME = "tfds://"


class TfdsSource:
    """A data set of the TensorFlow Datasets catalogue with one image and one class label an example.

    Args:
        uri: ``tfds://name``.

    Raises:
        InputError: An unknown key, or no name.
    """

    parallel_reads = 1

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._name, _, query = uri.removeprefix(SCHEME).partition("?")
        options = dict(parse_qsl(query))
        self._data_dir = options.pop("data_dir", None)
        if options:
            key = next(iter(options))
            hint = did_you_mean(key, ["data_dir"], count=1) or " Known: data_dir."
            raise InputError(f"{uri}: unknown key '{key}'.{hint}")
        if not self._name:
            raise InputError(f"{uri}: names no data set. Write tfds://NAME, such as tfds://patch_camelyon.")
        digest = hashlib.sha256(f"{self._name}?{self._data_dir}".encode()).hexdigest()[:12]
        self._folder = cache_folder("tfds") / f"{self._name.replace('/', '_').replace(':', '_')}-{digest}"

    def listing(self) -> Listing:
        """Return every example of every split; see `Source`."""
        self._fetch()
        entries = []
        for split in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            for label in sorted(split.iterdir()):
                entries += [
                    Entry(
                        f"{split.name}/{label.name}/{file.name}",
                        f"{self.uri}#{split.name}/{label.name}/{file.name}",
                        label.name,
                        split_of(split.name) or "",
                    )
                    for file in sorted(label.iterdir())
                ]
        if not entries:
            raise InputError(f"{self.uri}: holds no examples. Name another data set.")
        if not all(entry.split for entry in entries):
            entries = [Entry(entry.id, entry.uri, entry.label) for entry in entries]
        return Listing(tuple(entries), f"TensorFlow data set {self._name}")

    def read(self, entry: Entry) -> bytes:
        """Return an example's encoded image; see `Source`."""
        self._fetch()
        return (self._folder / entry.id).read_bytes()

    def _fetch(self) -> None:
        """Write the encoded images into the cache, unless they are there; the folder appears whole or not at all."""
        if self._folder.is_dir():
            return
        builder = self._builder()
        image, label = self._features(builder)
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{self._folder.name}-", dir=self._folder.parent))
        try:
            self._write(builder, image, label, stage)
            stage.replace(self._folder)
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def _builder(self) -> Any:
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise InputError(
                f"{self.uri}: needs the package tensorflow_datasets, which is not installed. "
                "Run `pip install tensorflow-datasets`, or name a folder."
            ) from error
        try:
            builder = tfds.builder(self._name, data_dir=self._data_dir)
            builder.download_and_prepare()
        except tfds.core.registered.DatasetNotFoundError as error:
            raise InputError(
                f"{self.uri}: no such data set.{did_you_mean(self._name, tfds.list_builders(), count=1)}"
            ) from error
        except Exception as error:
            # Downloads fail in as many ways as there are hosts.
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.uri}: cannot be prepared ({reason}). Check name and network.") from error
        return builder

    def _features(self, builder: Any) -> tuple[str, str]:
        import tensorflow_datasets as tfds

        features = builder.info.features
        images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
        labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
        if len(images) != 1 or len(labels) != 1:
            raise InputError(
                f"{self.uri}: needs one image and one class label an example. "
                f"Received: {len(images)} and {len(labels)} ({', '.join(features)})."
            )
        return images[0], labels[0]

    def _write(self, builder: Any, image: str, label: str, folder: Path) -> None:
        import tensorflow_datasets as tfds

        names = builder.info.features[label].names
        for split, info in builder.info.splits.items():
            # One file after another, so that an example's number is the same everywhere.
            records = builder.as_dataset(
                split=split,
                decoders={image: tfds.decode.SkipDecoding()},
                read_config=tfds.ReadConfig(interleave_cycle_length=1),
            )
            with Progress(f"read {self._name} {split}", total=info.num_examples, unit="images") as progress:
                for number, record in enumerate(records.as_numpy_iterator()):
                    target = folder / split / names[int(record[label])].replace("/", "_")
                    target.mkdir(parents=True, exist_ok=True)
                    (target / f"{number:07d}").write_bytes(record[image])
                    progress.advance()
