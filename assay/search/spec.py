"""What a worker of a search must know, in one file that it reads from a folder or from object storage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from assay.config import Policy, RuntimeConfig, SearchConfig, parse_section
from assay.storage.open import open_store

SPEC_FILE = "spec.json"


@dataclass(frozen=True)
class SearchSpec:
    """One search.

    Attributes:
        search: Its section of the config.
        runtime: How a worker uses its machine.
        policy: Augmentation of the training images.
        dataset: Folder or ``gs://`` address of the dataset.
        location: Local directory or ``gs://`` prefix of everything that the search keeps until its end.
        seed: Of the run.
        deadline: Unix time after which no epoch begins; None: no limit.
    """

    search: SearchConfig
    runtime: RuntimeConfig
    policy: Policy
    dataset: str
    location: str
    seed: int
    deadline: float | None = None

    @property
    def uri(self) -> str:
        """Where the spec is kept."""
        return f"{self.location}/{SPEC_FILE}"

    def write(self) -> None:
        """Write the spec to its location."""
        content: dict[str, Any] = {
            "search": self.search.model_dump(mode="json"),
            "runtime": self.runtime.model_dump(mode="json"),
            "policy": self.policy.model_dump(mode="json"),
            "dataset": self.dataset,
            "location": self.location,
            "seed": self.seed,
            "deadline": self.deadline,
        }
        open_store(self.location).write_bytes(SPEC_FILE, json.dumps(content).encode())

    @classmethod
    def read(cls, uri: str) -> SearchSpec:
        """Read a spec that `write` wrote.

        Args:
            uri: Its path or ``gs://`` address.

        Raises:
            InputError: There is none.
        """
        location, _, name = uri.rpartition("/")
        content = json.loads(open_store(location).read_bytes(name))
        return cls(
            search=parse_section(SearchConfig, content["search"], origin=uri),
            runtime=parse_section(RuntimeConfig, content["runtime"], origin=uri),
            policy=Policy.model_validate(content["policy"]),
            dataset=content["dataset"],
            location=content["location"],
            seed=content["seed"],
            deadline=content["deadline"],
        )
