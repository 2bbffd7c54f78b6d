"""Label tables as people's programs write them."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.sources.columns import Asked
from assay.data.sources.label_table import EMPTY_LABELS, parse_label_table
from assay.data.sources.spelling import normal_form
from assay.errors import InputError

PLAIN = "path,label\na.png,x\nb.png,y\n"


def rows(text: str | bytes) -> list[tuple[str, str, str, str]]:
    data = text if isinstance(text, bytes) else text.encode()
    return [(row.key, row.label, row.split, row.group) for row in parse_label_table(data, "labels.csv").rows]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", "|").encode(),
        b"Path , LABEL\n a.png , x \n\nb.png,y\n , \n",
        b'"label","path"\n"x","a.png"\n"y","b.png"\n',
        b"id,label\na.png,x\nb.png,y\n",
    ],
)
def test_every_dialect_reads_the_same(data: bytes) -> None:
    assert rows(data) == [("a.png", "x", "", ""), ("b.png", "y", "", "")]


def test_splits_and_groups_are_taken_and_other_columns_noted() -> None:
    text = "id;label;split;group;age\n1;x;Train;p1;40\n2;y;VAL;p2;50\n3;x;testing;;60\n"
    assert rows(text) == [("1", "x", "train", "p1"), ("2", "y", "valid", "p2"), ("3", "x", "test", "")]
    notes = parse_label_table(text.encode(), "labels.csv").notes
    assert notes == ("labels.csv is separated by semicolons", "labels.csv: columns not used: age")


def test_a_file_with_several_boxes_is_one_example() -> None:
    text = "patientId,x,Target\np1,,0\np2,264,1\np2,562,1\n"
    table = parse_label_table(text.encode(), "labels.csv", Asked(file="patientId"))
    assert [(row.key, row.label, row.line) for row in table.rows] == [("p1", "0", 2), ("p2", "1", 3)]
    assert any("1 row says the same of a file as an earlier one" in note for note in table.notes)
    with pytest.raises(InputError, match=r"p2 has label '1' on line 3 and '0' on line 4"):
        parse_label_table(b"patientId,x,Target\np1,,0\np2,264,1\np2,562,0\n", "t.csv", Asked(file="patientId"))


def test_cells_may_hold_separators_quotes_and_other_alphabets() -> None:
    text = 'path,label\n"a, b.png",x\n"say ""hi"".png",y\nnaïve größe 图.png,x\n'
    assert [key for key, *_ in rows(text)] == ["a, b.png", 'say "hi".png', "naïve größe 图.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,label\n", "has a header but no rows"),
        ("a.png,x\nb.png,y\n", "no column id or path"),
        ("where,label\na.png,x\n", "Received: where, label"),
        ("path,lable\na.png,x\n", "no column label. Did you mean 'label' by 'lable'?"),
        ("path,label,label\na.png,x,y\n", "names 'label' twice"),
        ("path,label\na.png,x\nb.png\n", "line 3 has 1 cells, the header 2"),
        ("path,label\na, b.png,x\n", "line 2 has 3 cells"),
        ("path,label\na.png,\n", "line 2 (a.png) has an empty label"),
        ("path,label\n,x\n", "line 2 has an empty path"),
        ("path,label\na.png,x\nb.png,y\na.png,x\n", "1 row repeats another (first: line 4 repeats line 2, a.png)"),
        ("path,label\na.png,x\na.png,y\n", "a.png has label 'x' on line 2 and 'y' on line 3"),
        ("path,label,split\na.png,x,train\na.png,x,test\n", "a.png has split 'train' on line 2 and 'test' on line 3"),
        ("path,label,group\na.png,x,p1\na.png,x,p2\n", "a.png has group 'p1' on line 2 and 'p2' on line 3"),
        ("path,label,split\na.png,x,trian\n", "line 2: split 'trian' is none of train, valid and test. Did you mean"),
        ("path,label,split\na.png,x,train\nb.png,y,\n", "1 rows name no split while others do (first: line 3, b.png)"),
        ('path,label\n"a.png,x\n', "not valid CSV"),
        ('path,label\n"a\nb.png",x\n', "line 3: path 'a\\nb.png' holds a control character"),
        (b"path,label\na\x00.png,x\n", "zero bytes"),
        ("path,label\né.png,x\n".encode("cp1252"), "not UTF-8 text"),
    ],
)
def test_malformed_tables_say_where_and_what_to_do(text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        rows(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("labels.csv: ")
    assert "\n" not in str(caught.value)


CELL = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff"), min_size=1).map(
    str.strip
)


def has_meaning(label: str) -> bool:
    """Return whether a label is more than "not a number" or what cannot be seen."""
    return normal_form(label).casefold() not in EMPTY_LABELS


@given(st.dictionaries(CELL.filter(bool), CELL.filter(has_meaning), min_size=1, max_size=8), st.sampled_from(",;\t|"))
def test_what_is_written_is_read_back(labels: dict[str, str], delimiter: str) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(["path", "label"])
    writer.writerows(labels.items())
    assert rows(buffer.getvalue()) == [(key, label, "", "") for key, label in labels.items()]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_line_of_explanation(data: bytes) -> None:
    try:
        table = parse_label_table(b"path,label\n" + data, "labels.csv")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert table.rows
