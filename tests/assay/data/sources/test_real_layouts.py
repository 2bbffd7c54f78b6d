"""Folders as public data sets really have them: read as they are meant, or refused with the layout that is meant."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.sources.base import Listing
from assay.data.sources.folder import list_class_folders
from assay.errors import InputError


def listed(*patterns: str, classes: Sequence[str] | None = None, empty: Sequence[str] = ()) -> Listing:
    """List files of patterns such as ``{train,test}/{a,b}/*``: two files for each way to read one."""
    names = sorted(name for pattern in patterns for name in expand(pattern))
    return list_class_folders("/data", names, IMAGE_EXTENSIONS, classes=classes, empty=empty)


def expand(pattern: str) -> list[str]:
    before, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern.replace("*", f"{number}.png") for number in range(2)] if "*" in pattern else [pattern]
    inside, _, after = rest.partition("}")
    return [name for choice in inside.split(",") for name in expand(before + choice + after)]


def classes_of(listing: Listing) -> tuple[list[str], list[str]]:
    return sorted({entry.label for entry in listing.entries}), sorted({entry.split for entry in listing.entries})


@pytest.mark.parametrize(
    ("patterns", "classes", "splits"),
    [
        # Kaggle's chest x-rays, with what a Mac leaves behind and the copy within.
        (
            ["{train,val,test}/{NORMAL,PNEUMONIA}/*", "chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*"],
            ["NORMAL", "PNEUMONIA"],
            ["test", "train", "valid"],
        ),
        (["{Training,Testing}/{glioma,meningioma,notumor,pituitary}/*"], 4, ["test", "train"]),
        (["{yes,no}/*"], ["no", "yes"], [""]),
        (["{benign,malignant}/SOB/{adenosis,fibroadenoma}/SOB_B_A_14-22549AB/{40X,100X}/*"], 2, [""]),
        (["{class_0,class_1}/{40X,100X}/*"], ["class_0", "class_1"], [""]),
        (["benign/{40X,100X,200X,400X}/*", "malignant/{40X,100X,200X,400X}/*"], ["benign", "malignant"], [""]),
        (["{colon_aca,colon_n,lung_aca,lung_n,lung_scc}/*"], 5, [""]),
        (["{colon_image_sets/colon_aca,colon_image_sets/colon_n,lung_image_sets/lung_aca}/*"], 2, [""]),
        (["{COVID,Normal,Viral Pneumonia,Lung_Opacity}/images/*"], 4, [""]),
        (["{COVID,Normal,Viral Pneumonia,Lung_Opacity}/{images,masks}/*"], 4, [""]),
        (["{Cat,Dog}/*"], ["Cat", "Dog"], [""]),
        (["{train,validation}/{cats,dogs}/*", "vectorize.py"], ["cats", "dogs"], ["train", "valid"]),
        (["{Parasitized,Uninfected}/*", "{Parasitized,Uninfected}/Thumbs.txt"], 2, [""]),
        (["{akiec,bcc,bkl,df,mel,nv,vasc}/*"], 7, [""]),
        (["{0,1,2,3,4}/*"], 5, [""]),
        (["{No_DR,Mild,Moderate,Severe,Proliferate_DR}/*"], 5, [""]),
        (["{01_TUMOR,02_STROMA,03_COMPLEX,04_LYMPHO,05_DEBRIS,06_MUCOSA,07_ADIPOSE,08_EMPTY}/*"], 8, [""]),
        (["{ADI,BACK,DEB,LYM,MUC,MUS,NORM,STR,TUM}/*"], 9, [""]),
        (["{AnnualCrop,Forest,HerbaceousVegetation,Highway,SeaLake}/*"], 5, [""]),
        (["{MildDemented,ModerateDemented,NonDemented,VeryMildDemented}/*"], 4, [""]),
        (["{train,test}/{benign,malignant}/*"], 2, ["test", "train"]),
        (["{train,valid,test}/{adenocarcinoma,large.cell.carcinoma,normal,squamous.cell.carcinoma}/*"], 4, 3),
        (["train/{CNV,DME,DRUSEN,NORMAL}/*", "test/{CNV,DME,DRUSEN,NORMAL}/*", "val/{CNV,DME}/*"], 4, 3),
        (["{with_mask,without_mask}/*"], ["with_mask", "without_mask"], [""]),
        (["{crazing,inclusion,patches,pitted_surface,rolled-in_scale,scratches}/*"], 6, [""]),
        (["train/{cat,dog}/*", "test1/*", "sampleSubmission.csv"], ["cat", "dog"], ["train"]),
        (["{train,bus,car,truck}/*"], ["bus", "car", "train", "truck"], [""]),
        (["{rain,brain,grain,trail}/*"], 4, [""]),
        (["{rest,text,tent}/*"], 3, [""]),
        (["{control,test}/*"], ["control", "test"], [""]),
        (["{train_cats,train_dogs}/*"], ["train_cats", "train_dogs"], [""]),
        (["{A,B,C}/*"], 3, [""]),
        (["{normal,abnormal}/{left,right}/*"], ["abnormal", "normal"], [""]),
        (["{normal,osteoporosis}/{patient1/*,patient2/*}"], 2, [""]),
        (["{HGG,LGG}/{t1,t1ce,t2,flair}/*"], ["HGG", "LGG"], [""]),
        (["{cat,dog}/{1,2,3}/*"], ["cat", "dog"], [""]),
        (["{cat,dog}/{batch1,batch_2}/*"], ["cat", "dog"], [""]),
        (["{TS,DS,control}/*"], 3, [""]),
        (["{tumor,notumor}/{train1/*,batch_7/*}"], 2, [""]),
    ],
)
def test_ordinary_layouts_are_read(patterns: list[str], classes: list[str] | int, splits: list[str] | int) -> None:
    found, of_splits = classes_of(listed(*patterns))
    assert (found if isinstance(classes, list) else len(found)) == classes
    assert (of_splits if isinstance(splits, list) else len(of_splits)) == splits


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (["{training_set,test_set}/{cats,dogs}/*"], "training_set -> train, test_set -> test"),
        (["{trian,test}/{a,b}/*"], "trian -> train"),
        (["{train,tset}/{a,b}/*"], "/data/tset: is no split"),
        (["{learn,eval}/{a,b}/*"], "learn -> train, eval -> valid"),
        (["{Train_Data,Test_Data}/{a,b}/*"], "Train_Data -> train"),
        (["{seg_train/seg_train,seg_test/seg_test}/{forest,sea}/*", "seg_pred/seg_pred/*"], "seg_train -> train"),
        (["{chest_train,chest_test}/{a,b}/*"], "chest_train -> train"),
        (["{TrainingSet,TestSet}/{a,b}/*"], "TrainingSet -> train"),
        (["{dataset_train,dataset_val,dataset_test}/{a,b}/*"], "dataset_val -> valid"),
        (["{vaild,test}/{a,b}/*"], "vaild -> valid"),
        (["{valid,test}/{a,b}/*"], "One of them must be train"),
        (["{fold1,fold2,fold3}/{a,b}/*"], "which are likely the classes"),
        (["{fold_0,fold_1,fold_2}/{benign,malignant}/*"], "which are likely the classes"),
        (["{1,2,3}/{benign,malignant}/*"], "labels.csv with path,label,group says so"),
        (["{train,train_masks}/*"], "sound like images and their masks"),
        (["{train_images,train_masks}/*"], "sound like images and their masks"),
        (["{train,test}/*"], "sound like splits, and hold no class folders, so no labels"),
        (["{trian,test}/*"], "sound like splits, and hold no class folders"),
        (["{imagesTr,imagesTs}/*"], "sound like splits"),
        (["{yes,no}/*", "pred/*"], "the folder 'pred' lies beside no and yes"),
        (["{cats,dogs,test}/*"], "the folder 'test' lies beside cats and dogs"),
        (["{cats,dogs,unlabeled}/*"], "'unlabeled'"),
        (["{yes,no}/*", "brain_tumor_dataset/{yes,no}/*"], "the folder 'brain_tumor_dataset' holds no and yes"),
        (["{cat,dog}/{train,test}/*"], "{train,valid,test}/<class>/*: move cat/"),
        (["{siteA,siteB}/{benign,malignant}/*"], "which are likely the classes"),
        (["{8863,8864,8865,8867,8913,8914}/{0,1}/*"], "labels.csv with path,label,group says so"),
        (["{2019,2020}/{cat,dog}/*"], "which are likely the classes"),
        (["{images,masks}/*"], "sound like images and their masks"),
        (["{img,ground_truth}/*"], "sound like images and their masks"),
        (["PetImages/{Cat,Dog}/*"], "Did you mean /data/PetImages?"),
        (["archive/PetImages/{Cat,Dog}/*"], "Did you mean /data/archive/PetImages?"),
    ],
)
def test_folders_that_are_no_classes_are_refused_with_what_is_meant(patterns: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        listed(*patterns)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("patterns", "classes"),
    [
        (["{cats,dogs,test}/*"], ["cats", "dogs"]),
        (["{siteA,siteB}/{benign,malignant}/*"], ["siteA", "siteB"]),
        (["{train,test}/*"], ["test", "train"]),
        (["{yes,no}/*", "brain_tumor_dataset/{yes,no}/*"], ["yes", "no"]),
    ],
)
def test_classes_that_are_named_are_classes(patterns: list[str], classes: list[str]) -> None:
    assert set(classes) <= set(classes_of(listed(*patterns, classes=classes))[0])


def test_an_empty_class_folder_is_said() -> None:
    assert listed("{a,b}/*", empty=["c"]).empty_classes == ("c",)
    assert listed("{train,test}/{a,b}/*", empty=["train/c", "logs", "valid"]).empty_classes == ("c",)
    there = listed("train/{a,b}/*", "test/a/*", empty=["test/b"])
    assert there.empty_classes == ()
    assert there.notes == ("folder test/b is empty",)
