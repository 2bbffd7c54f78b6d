"""Columns by the names that people give them; what could mean two things is asked for."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.sources.columns import Asked, find_columns
from assay.errors import InputError


def taken(text: str, there: set[str] | None = None, **asked: str) -> tuple[str, ...]:
    """Return the columns of a table taken for file, label, split and group, and those of a class each."""
    header, *rows = list(csv.reader(io.StringIO(text)))
    found = find_columns(
        header, rows, Asked(**asked), "labels.csv", None if there is None else lambda cell: cell in there
    )
    names = [header[place] for place in (found.file, found.label, found.split, found.group) if place is not None]
    return (*names, *(name for _, name in found.classes))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        # HAM10000, APTOS 2019, EyePACS, Cassava, RSNA Bone Age, NIH chest x-rays, dog breeds, the ISIC archive.
        ("lesion_id,image_id,dx,dx_type,age\nHAM_1,ISIC_1,bkl,histo,80\nHAM_1,ISIC_2,nv,histo,80\n", "image_id dx"),
        ("id_code,diagnosis\n000c14,2\n001639,4\n", "id_code diagnosis"),
        ("image,level\n10_left,0\n10_right,1\n", "image level"),
        ("image_id,label\n1.jpg,0\n2.jpg,3\n", "image_id label"),
        ("Image Index,Finding Labels,Patient ID\na.png,Mass,1\nb.png,Hernia,1\n", "Image Index|Finding Labels"),
        ("id,breed\n000bec,beagle\n001513,pug\n", "id breed"),
        ("isic_id,age_approx,benign_malignant\nISIC_1,40,benign\nISIC_2,50,malignant\n", "isic_id benign_malignant"),
        ("Filename;x\n", None),
        ("filename,class\na,x\nb,y\n", "filename class"),
        ("file_name,category\na,x\nb,y\n", "file_name category"),
        ("FilePath,Target\na,0\nb,1\n", "FilePath Target"),
        ("path,label,dx\na,x,1\nb,y,0\n", "path label"),
        # The class's name and its number say the same; a constant column says nothing.
        ("img,class_id,class_name\na,0,cat\nb,1,dog\nc,0,cat\n", "img class_name"),
        ("img,target,diagnosis\na,1,mel\nb,1,nv\n", "img diagnosis"),
        # Splits by other names, where every cell is one.
        ("image,label,set\na,x,training\nb,y,val\n", "image label set"),
        ("image,label,set\na,x,1\nb,y,2\n", "image label"),
        ("image,label,fold\na,x,0\nb,y,1\n", "image label"),
        ("image,label,group,split\na,x,p1,train\nb,y,p2,test\n", "image label split group"),
        # ISIC 2018 and 2019: a column a class.
        ("image,MEL,NV,BCC\nISIC_1,1.0,0.0,0.0\nISIC_2,0.0,1.0,0.0\n", "image MEL NV BCC"),
        ("image_id,healthy,rust,scab\nT_0,0,1,0\nT_1,1,0,0\nT_2,0,0,1\n", "image_id healthy rust scab"),
    ],
)
def test_columns_of_public_data_sets(text: str, columns: str | None) -> None:
    if columns is None:
        with pytest.raises(InputError, match=r"no column id or path"):
            taken(text)
    else:
        assert taken(text) == tuple(columns.split("|" if "|" in columns else " "))


def test_the_files_tell_which_column_names_them() -> None:
    text = "id,filename,patientId,label\n0,a.png,p1,x\n1,b.png,p2,y\n"
    assert taken(text, {"a.png", "b.png"})[0] == "filename"
    assert taken(text, {"p1", "p2"})[0] == "patientId"
    assert taken(text, {"0", "1"})[0] == "id"
    # Where none is there the refusal that follows is of the column that should have been right.
    assert taken(text, set())[0] == "filename"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            # ISIC 2020.
            "image_name,patient_id,diagnosis,benign_malignant,target\n1,p,nevus,benign,0\n2,q,melanoma,malignant,1\n"
            "3,q,unknown,benign,0\n",
            "3 columns may name the class: diagnosis (3 values), benign_malignant (2 values), target (2 values). "
            "Say which: data.label_column=diagnosis",
        ),
        (
            # CheXpert.
            "Path,Sex,No Finding,Edema,Pleural Effusion\na,F,1.0,,\nb,M,,-1.0,1.0\nc,M,,1.0,1.0\n",
            "3 columns of 0 and 1 (No Finding, Edema, Pleural Effusion) of which a row may have several or none. "
            'Choose one: data.label_column="No Finding"',
        ),
        ("path,lable\na,x\nb,y\n", "Did you mean 'label' by 'lable'?"),
        ("path,patient_id\na,x\nb,y\n", "has no column label"),
        ("path,age,sex\na,30,m\nb,40,f\n", "data.label_column names another column. Received: path, age, sex"),
        ("a.png,x\nb.png,y\n", "has no header. Its first line must be path,label"),
        ("image,image,label\na,b,x\n", "the header names 'image' twice"),
    ],
)
def test_what_could_mean_two_things_is_asked_for(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        taken(text, {"a.png", "b.png"})
    assert message in str(caught.value)


def test_columns_that_the_config_names_are_taken_in_any_case() -> None:
    text = "Key,Sex,Edema,Who\na,F,1,p1\nb,M,0,p2\n"
    assert taken(text, file="key", label="edema", group="WHO") == ("Key", "Edema", "Who")
    for key, column in (("file", "kay"), ("label", "oedema"), ("group", "whom")):
        with pytest.raises(InputError, match=rf"has no column '{column}', which data\.{key}_column names\."):
            taken(text, **{"file": "key", "label": "edema", key: column})


@given(
    st.sampled_from(["image_id", "filename", "Image Index", "id_code", "ImagePath"]),
    st.sampled_from(["dx", "Diagnosis", "class_name", "target", "Finding Labels"]),
    st.permutations(["age", "sex", "site", "score"]),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_neither_order_nor_other_columns_matter(file: str, label: str, rest: list[str], one: int, two: int) -> None:
    header = [*rest]
    header.insert(one, file)
    header.insert(two, label)
    rows = [[f"{number}{column}" for column in header] for number in range(3)]
    found = find_columns(header, rows, Asked(), "labels.csv")
    assert (header[found.file], header[found.label or 0]) == (file, label)
