"""A picture in every format that is read, in the usual and the less usual kinds, as a table of the docs names them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from assay.data.formats import PNG_SIGNATURE

SHAPE = (40, 56)


def colour() -> np.ndarray:
    """A smooth colour picture without symmetry."""
    coarse = np.random.default_rng(7).integers(0, 256, (10, 14, 3), np.uint8)
    return cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC)


def of_pillow(form: str, mode: str = "RGB", **options: Any) -> bytes:
    """The picture as Pillow writes it."""
    file = io.BytesIO()
    image = Image.fromarray(colour())
    (image.quantize(32) if mode == "P" else image.convert(mode)).save(file, form, **options)
    return file.getvalue()


def of_tifffile(array: np.ndarray, **options: Any) -> bytes:
    """An array as tifffile writes it."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"metadata": None, **options})
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    """EXIF that asks for an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _palette_of_bits(bits: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(colour()).quantize(2**bits).save(file, "PNG", bits=bits)
    return file.getvalue()


def _grey_of_bits(bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, which Pillow does not write."""
    grey = cv2.cvtColor(colour(), cv2.COLOR_RGB2GRAY) >> (8 - bits)
    planes = (grey[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(planes.reshape(SHAPE[0], -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], bits, 0, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def kinds() -> dict[str, dict[str, bytes]]:
    """Files of every kind: the kind as docs/serving.md names it, then one or more examples by name."""
    rgb = colour()
    other = [Image.fromarray(rgb[::-1].copy())]
    deep = rgb.astype(np.uint16) * 257
    planes = np.moveaxis(deep, -1, 0)
    grey = deep[..., 0].copy()
    opaque = np.dstack([deep, deep[..., 0]])
    tiff = {
        **{mode: of_pillow("TIFF", mode) for mode in ("RGB", "L", "P", "1", "CMYK", "LAB", "YCbCr", "RGBA")},
        "fax": of_pillow("TIFF", "1", compression="group4"),
        "JPEG": of_pillow("TIFF", compression="jpeg"),
        "turned": of_pillow("TIFF", exif=turned(7)),
        "floats": of_tifffile(grey.astype(np.float32)),
        "signed": of_tifffile((grey.astype(np.int32) - 32768).astype(np.int16), photometric="minisblack"),
    }
    for order in "<>":
        for compression in (None, "lzw", "zlib"):
            kind = {"byteorder": order, "compression": compression}
            name = f"{order} {compression}"
            five = np.dstack([deep, deep[..., :2]])
            tiff |= {
                f"{name} planes": of_tifffile(planes, photometric="rgb", planarconfig="separate", **kind),
                f"{name} white is zero": of_tifffile(grey, photometric="miniswhite", **kind),
                f"{name} bands": of_tifffile(five, photometric="rgb", extrasamples=["unspecified"] * 2, **kind),
                f"{name} tiles": of_tifffile(deep, photometric="rgb", tile=(16, 16), **kind),
            }
    return {
        "JPEG, grey or colour, also progressive": {
            "grey": of_pillow("JPEG", "L", quality=90),
            "colour": of_pillow("JPEG", quality=90),
            "progressive": of_pillow("JPEG", progressive=True),
            "RGB": of_pillow("JPEG", quality=95, keep_rgb=True),
            "upright": of_pillow("JPEG", exif=turned(1)),
            "several pictures": of_pillow("MPO", save_all=True, append_images=other),
        },
        "JPEG turned by its EXIF orientation": {
            str(orientation): of_pillow("JPEG", exif=turned(orientation)) for orientation in range(2, 9)
        },
        "JPEG in CMYK": {"CMYK": of_pillow("JPEG", "CMYK", quality=90)},
        "PNG of 8 and 16 bits, grey or colour, also with transparency": {
            **{mode: of_pillow("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA")},
            **{f"16 bits {array.shape}": imagecodecs.png_encode(array) for array in (grey, deep, opaque)},
            "transparent colour": of_pillow("PNG", transparency=(90, 100, 110)),
            "animated": of_pillow("PNG", save_all=True, append_images=other),
            "upright": of_pillow("PNG", exif=turned(1)),
        },
        "PNG with a palette of 8 bits, also with transparency": {
            "8 bits": _palette_of_bits(8),
            "transparent": of_pillow("PNG", "P", transparency=3),
        },
        "PNG of 1, 2 or 4 bits, grey or with a palette": {
            **{f"grey of {bits} bits": _grey_of_bits(bits) for bits in (1, 2, 4)},
            **{f"palette of {bits} bits": _palette_of_bits(bits) for bits in (1, 2, 4)},
        },
        "PNG turned by its EXIF orientation": {
            str(orientation): of_pillow("PNG", exif=turned(orientation)) for orientation in range(2, 9)
        },
        "BMP of 24 bits": {"colour": of_pillow("BMP")},
        "BMP of other bits (grey, palette, bilevel, 32)": {
            mode: of_pillow("BMP", mode) for mode in ("L", "P", "1", "RGBA")
        },
        "GIF": {
            "plain": of_pillow("GIF", "P"),
            "transparent": of_pillow("GIF", "P", transparency=3),
            "animated": of_pillow("GIF", "P", save_all=True, append_images=other),
        },
        "TIFF": tiff,
        "WebP": {"lossless": of_pillow("WEBP", lossless=True), "lossy": of_pillow("WEBP", "RGBA", quality=70)},
        "JPEG 2000": {
            "8 bits": of_pillow("JPEG2000"),
            "12 bits": imagecodecs.jpeg2k_encode(grey >> 4, level=0, bitspersample=12),
        },
        "AVIF": {"colour": of_pillow("AVIF")},
        "PNM": {
            "8 bits": of_pillow("PPM"),
            "16 bits": b"P5\n56 40\n4095\n" + (grey >> 4).astype(">u2").tobytes(),
        },
        "TGA and PCX": {"TGA": of_pillow("TGA", "RGBA"), "PCX": of_pillow("PCX")},
    }


KINDS = kinds()
EXAMPLES = {f"{kind}: {name}": data for kind, files in KINDS.items() for name, data in files.items()}
