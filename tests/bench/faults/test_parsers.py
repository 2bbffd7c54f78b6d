"""What parses the files of others gives a value or refuses in one line; the corpus of the fuzzer and more is fed."""

from __future__ import annotations

import random

import pytest

from bench.faults.parsers import CORPUS, TARGETS, judge, seeds

DEEP = [b"[" * 100_000, b'{"a":' * 100_000, b"{a: " * 3_000]


@pytest.mark.parametrize("target", TARGETS)
def test_a_parser_gives_a_value_or_refuses_in_one_line(target: str) -> None:
    begun = seeds(target)
    known = [path.read_bytes() for path in sorted(CORPUS.glob(f"{target}-*"))]
    dice = random.Random(0)
    for data in [b"", b"\0", *DEEP, *begun, *known]:
        judge(TARGETS[target], data)
    for _ in range(60):
        data = bytearray(dice.choice(begun + known) or b"x")
        for _ in range(dice.choice((1, 1, 3))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        judge(TARGETS[target], bytes(data[: dice.choice((len(data), len(data), len(data) // 2))]))


def test_what_is_no_refusal_is_a_finding() -> None:
    def wrong(data: bytes) -> None:
        raise TypeError("int() argument must be a string")

    with pytest.raises(TypeError):
        judge(wrong, b"")


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.iterdir()) < 64_000
    assert {path.name.partition("-")[0] for path in CORPUS.iterdir()} <= set(TARGETS)
