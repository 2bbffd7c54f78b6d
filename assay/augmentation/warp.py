"""The augmenter: all changes of an image in one composed warp and one colour product, uint8 in and out."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from assay.augmentation.color import color_matrices
from assay.augmentation.parameters import Parameters, draw, matrices
from assay.config import Policy
from assay.errors import InputError

_BORDERS = {"nearest": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT}
_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


class Augmenter:
    """Applies a policy to batches of images.

    What happens to an image depends on (policy, seed, epoch, index of the image) alone: not on the batch
    that it is in, the thread that does the work, or what was asked for before. Safe to share by threads.

    Args:
        policy: The ranges of the random changes. With ``policy.views`` of K, epoch e shows view e modulo K.
        input_shape: Height, width, channels (1 or 3) of every image.
        seed: Of the run.

    Raises:
        InputError: The policy does not fit such images.
    """

    def __init__(self, policy: Policy, input_shape: tuple[int, int, int], seed: int) -> None:
        check_fits(policy, input_shape)
        # The batches are the unit of parallel work; threads inside one warp of a small image only fight them.
        cv2.setNumThreads(0)
        self.policy = policy
        self.input_shape = input_shape
        self.seed = seed
        self._scratch = threading.local()

    def batch(self, images: np.ndarray, indices: np.ndarray, epoch: int, out: np.ndarray | None = None) -> np.ndarray:
        """Augment images as they are seen in one epoch.

        Args:
            images: uint8 (B, H, W, C); left as it is.
            indices: Positions of the images in their split, integers (B,).
            epoch: Which pass over the data, from 0.
            out: uint8 (B, H, W, C), contiguous, to write into; None: a new array.

        Returns:
            uint8 (B, H, W, C): ``out``.
        """
        if self.policy.views:
            epoch %= self.policy.views
        height, width, _ = self.input_shape
        return self.apply(images, draw(self.policy, (height, width), self.seed, epoch, indices), out)

    def apply(self, images: np.ndarray, parameters: Parameters, out: np.ndarray | None = None) -> np.ndarray:
        """Change images by given parameters rather than drawn ones; see `batch`."""
        height, width, channels = self.input_shape
        if images.shape != (len(parameters), height, width, channels) or images.dtype != np.uint8:
            raise ValueError(
                f"images must be uint8 of shape {(len(parameters), height, width, channels)}. "
                f"Received: {images.dtype} of shape {images.shape}"
            )
        if out is None:
            out = np.empty_like(images, order="C")
        lossless = parameters.lossless().tolist()
        transforms = matrices(parameters, (height, width))
        for position in range(len(images)):
            # OpenCV wants one-channel images without their last axis.
            source = images[position] if channels == 3 else images[position, :, :, 0]
            target = out[position] if channels == 3 else out[position, :, :, 0]
            if lossless[position]:
                _flip_and_turn(source, target, parameters, position)
            else:
                self._warp(source, target, transforms[position])
        self._color(out, parameters)
        return out

    def _warp(self, source: np.ndarray, target: np.ndarray, transform: np.ndarray) -> None:
        mode = self.policy.fill_mode
        if mode == "wrap":
            _warp_wrapped(source, target, transform)
        elif mode == "constant":
            self._warp_onto_fill(source, target, transform)
        elif source.ndim == 2:
            _warp_affine(source, target, transform, _BORDERS[mode])
        else:
            # OpenCV warps four channels in 0.65 of the time of three: there and back is still a quarter faster.
            padded, warped = self._buffers()
            cv2.cvtColor(source, cv2.COLOR_RGB2RGBA, dst=padded)
            _warp_affine(padded, warped, transform, _BORDERS[mode])
            cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=target)

    def _warp_onto_fill(self, source: np.ndarray, target: np.ndarray, transform: np.ndarray) -> None:
        """Warp, and put the fill value wherever a pixel shows a place outside the image.

        OpenCV fades the last pixel into a constant border, SciPy (and so Keras) does not. The alpha channel,
        opaque inside and empty outside, says which pixels lie wholly inside.
        """
        padded, warped = self._buffers()
        cv2.cvtColor(source, cv2.COLOR_GRAY2RGBA if source.ndim == 2 else cv2.COLOR_RGB2RGBA, dst=padded)
        _warp_affine(padded, warped, transform, cv2.BORDER_CONSTANT)
        if source.ndim == 2:
            cv2.extractChannel(warped, 0, dst=target)
        else:
            cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=target)
        outside = cv2.compare(cv2.extractChannel(warped, 3), 255, cv2.CMP_LT)
        cv2.copyTo(np.full_like(target, round(self.policy.fill_value)), outside, dst=target)

    def _buffers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return this thread's two RGBA images, one to warp from and one to warp into."""
        buffers: tuple[np.ndarray, np.ndarray] | None = getattr(self._scratch, "buffers", None)
        if buffers is None:
            shape = (*self.input_shape[:2], 4)
            buffers = self._scratch.buffers = (np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.uint8))
        return buffers

    def _color(self, images: np.ndarray, parameters: Parameters) -> None:
        if images.shape[3] == 1:
            for position in np.flatnonzero(parameters.brightness != 1):
                plane = images[position, :, :, 0]
                cv2.convertScaleAbs(plane, dst=plane, alpha=parameters.brightness[position])
            return
        colors = color_matrices(parameters)
        for position in np.flatnonzero((colors != np.eye(3, dtype=np.float32)).any(axis=(1, 2))):
            cv2.transform(images[position], colors[position], dst=images[position])


def check_fits(policy: Policy, input_shape: tuple[int, int, int]) -> None:
    """Check that a policy's operations make sense for such images.

    Raises:
        InputError: ``signal``, ``quarter_turns`` on images that are not square, ``color_jitter`` without colour,
            or a number of channels other than 1 and 3.
    """
    height, width, channels = input_shape
    if policy.signal is not None:
        raise InputError(
            "augment.policy.signal changes sensor windows, and the data are images. Set it to null; for images there "
            "are brightness_range, color_jitter and the others."
        )
    if channels not in (1, 3):
        raise InputError(
            f"augmentation takes images of 1 or 3 channels. Received: {channels}. "
            "Set data.color_mode to rgb or grayscale."
        )
    if policy.quarter_turns and height != width:
        raise InputError(
            f"augment.policy.quarter_turns needs square images. Received: {height}x{width}. "
            "Set it to false (both flips still give half a turn) or set data.image_size to a square."
        )
    if policy.color_jitter is not None and channels != 3:
        raise InputError(
            "augment.policy.color_jitter needs colour images. Received: 1 channel. "
            "Set it to null and use brightness_range, or set data.color_mode to rgb."
        )


def _flip_and_turn(source: np.ndarray, target: np.ndarray, parameters: Parameters, position: int) -> None:
    turns = int(parameters.turns[position])
    horizontal = bool(parameters.flip_horizontal[position]) ^ (turns in (2, 3))
    vertical = bool(parameters.flip_vertical[position]) ^ (turns in (1, 2))
    if turns % 2:
        source = cv2.transpose(source)
    if horizontal or vertical:
        cv2.flip(source, -1 if horizontal and vertical else int(horizontal), dst=target)
    else:
        target[...] = source


def _warp_affine(source: np.ndarray, target: np.ndarray, transform: np.ndarray, border: int) -> None:
    size = (target.shape[1], target.shape[0])
    cv2.warpAffine(source, transform, size, dst=target, flags=_FLAGS, borderMode=border)


def _warp_wrapped(source: np.ndarray, target: np.ndarray, transform: np.ndarray) -> None:
    """Warp an image that repeats without end.

    SciPy's (and so Keras's) ``wrap`` has a period of the size less one, the last and the first pixel falling
    on each other; OpenCV's has the size itself. So the places are folded here, at about three times the cost.
    """
    height, width = target.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    rows = transform.astype(np.float32)
    places = [
        _fold(rows[axis, 0] * x + (rows[axis, 1] * y + rows[axis, 2]), side - 1)
        for axis, side in enumerate((width, height))
    ]
    cv2.remap(source, places[0], places[1], cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)


def _fold(places: np.ndarray, period: int) -> np.ndarray:
    periods = np.floor(places * np.float32(1 / period))
    # Both ends of 0..period stand for themselves.
    periods[(places >= 0) & (places <= period)] = 0
    return places - periods * np.float32(period)
