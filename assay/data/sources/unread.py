"""Formats that people have pictures in and that are not read, each with what to do about it."""

from __future__ import annotations

_DICOM = "DICOM: export each as 16-bit PNG or TIFF (pydicom: apply_modality_lut, then the window)"
_VOLUME = "a volume ({}): export its slices as 16-bit PNG or TIFF"
_SLIDE = "a whole slide ({}): cut it into patches first (OpenSlide, QuPath)"
_CAMERA = "a camera's raw file ({}): export it as TIFF or PNG"
_PACKED = "an archive ({}): unpack it"
_UNREAD = {
    **dict.fromkeys(("dcm", "dicom", "dic", "ima"), _DICOM),
    **dict.fromkeys(("nii", "nii.gz", "mha", "mhd", "nrrd", "mgz", "hdr"), _VOLUME),
    **dict.fromkeys(("svs", "ndpi", "mrxs", "scn", "vms", "bif", "czi", "vsi", "lif", "qptiff", "ome.zarr"), _SLIDE),
    **dict.fromkeys(("cr2", "cr3", "nef", "arw", "dng", "orf", "raw"), _CAMERA),
    **dict.fromkeys(("zip", "tar", "tar.gz", "tgz", "7z", "rar", "gz"), _PACKED),
    **dict.fromkeys(("heic", "heif", "jxl"), "{}: convert it to PNG or JPEG"),
    **dict.fromkeys(("h5", "hdf5", "mat", "npz", "tfrecord", "tfrecords", "lmdb"), "{}: export PNG"),
}


def unread_extension(name: str) -> str:
    """Return what a file's name ends in, without the first dot, if that is a format which is not read; else empty."""
    parts = name.rpartition("/")[2].lower().split(".")
    for count in (2, 1):
        extension = ".".join(parts[-count:])
        if len(parts) > count and extension in _UNREAD:
            return extension
    return ""


def what_is_unread(name: str) -> str | None:
    """Return what a file is, by its name, and what to do about it; None where it may be read."""
    extension = unread_extension(name)
    if not extension:
        return None
    said = _UNREAD[extension].format(f".{extension}")
    return said[0].upper() + said[1:]
