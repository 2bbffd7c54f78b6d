"""RunConfig: the one versioned description of a run, with a unit, a range and a default for every field."""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from assay.config.schemes import refuse_unknown_scheme
from assay.hashing import hash_json

SCHEMA_VERSION = 1


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values are checked against their ranges."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def fingerprint(self) -> str:
        """Return 16 digits of the hash of this section's resolved values."""
        return hash_json(self.model_dump(mode="json"))[:16]


class DataConfig(Section):
    """Where the images come from, how they are split and what a network is shown."""

    source: str = Field(
        "demo://tissue", description="folder, labels.csv folder, gs://bucket/prefix, tfds://name, or demo://name?..."
    )
    kind: Literal["image", "sensor"] = Field("image", description="image files, or windows of sensor data")
    image_size: tuple[int, int] | None = Field(
        None, description="height and width in pixels; null: the commonest size, or the median where none is common"
    )
    color_mode: Literal["rgb", "grayscale"] = Field("rgb", description="channels that the network sees")
    window: tuple[float, float] | Literal["percentile"] | None = Field(
        None,
        description="for files of more than 8 bits: [low, high] in the file's own values become black and white; "
        "percentile: of each image's own values; null: the whole range. Signed values and floats need one",
    )
    window_percentiles: tuple[float, float] = Field((0.5, 99.5), description="percent, for window: percentile")
    bands: tuple[int, ...] | None = Field(
        None,
        description="bands of the file, from 1, to show: one (grey) or three (red, green, blue); null: its colours",
    )
    classes: tuple[str, ...] | None = Field(None, description="class order; null: sorted labels")
    positive_class: str | None = Field(
        None, description="the class to detect, of two; null: the one not named normal, benign, no, 0..., else the last"
    )
    table: str | None = Field(None, description="label table in the source, where it is not called labels.csv")
    file_column: str | None = Field(
        None, description="column of the label table that names the file, where the names of columns do not tell"
    )
    label_column: str | None = Field(
        None, description="column of the label table that names the class, where several could be it"
    )
    group_column: str | None = Field(
        None, description="column of the label table that names slide or patient, where it is not called group"
    )
    group_gaps: Literal["refuse", "own"] = Field(
        "refuse", description="rows without a group where others have one: refuse, or each a group of its own"
    )
    exclude: tuple[str, ...] = Field(
        (), description="files left out, by patterns of their name or path within the source, such as '*_mask.*'"
    )
    valid_fraction: float = Field(0.15, gt=0, lt=0.5, description="fraction for validation, where the source has none")
    test_fraction: float = Field(0.15, gt=0, lt=0.5, description="fraction for test, where the source has none")
    keep_splits: bool = Field(
        True,
        description="images and groups stay in the split that earlier snapshots of this model's name gave them; "
        "false: all are drawn anew, and kept from then on",
    )
    max_bad_fraction: float = Field(0.05, ge=0, le=1, description="more unusable files than this fraction fail the run")
    near_duplicates: bool = Field(True, description="group images that differ by little more than compression")
    near_duplicate_bits: int = Field(4, ge=0, le=8, description="bits of 64 in which two perceptual hashes may differ")
    max_pixels: int = Field(
        100_000_000, ge=1_024, le=10_000_000_000, description="pixels; a larger image is set aside unread"
    )
    limit_per_class: int | None = Field(None, ge=3, description="images of each class and split; null: all")
    missing: Literal["error", "mean", "interpolate"] = Field(
        "error", description="missing values in sensor windows: refuse, training mean, or linear in time"
    )
    simulate_missing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="fraction of values hidden in training, in gaps as long as its own, for later use",
    )
    missing_values: tuple[float, ...] = Field(
        (), description="values of sensor windows that stand for a missing one, such as 0"
    )
    missing_flat_steps: int | None = Field(
        None, ge=2, description="steps at one value from which a channel counts as failed and missing; null: never"
    )
    missing_mask: bool = Field(
        False, description="give the network a channel more for each of the sensor's: 1 where a value was missing"
    )
    shards: Annotated[int, Field(ge=1, le=512)] | Literal["auto"] = Field(
        1, description="parallel preprocessing tasks on a cluster, 1 to 512; auto: by the size of a source in gs://"
    )

    @field_validator("window", mode="before")
    @classmethod
    def _window_is_one_of_three(cls, value: Any) -> Any:
        numbers = isinstance(value, list | tuple) and all(isinstance(end, int | float) for end in value)
        if value is None or value == "percentile" or (numbers and len(value) == 2 and value[0] < value[1]):
            return value
        raise ValueError(f"window must be [low, high] with low < high, percentile, or null. Received: {value!r}")

    @model_validator(mode="after")
    def _rendering(self) -> DataConfig:
        low, high = self.window_percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"window_percentiles must be 0 <= low < high <= 100. Received: [{low}, {high}]")
        if self.bands is not None and (len(self.bands) not in (1, 3) or min(self.bands) < 1):
            raise ValueError(f"bands must be one or three numbers, counted from 1. Received: {list(self.bands)}")
        return self

    @model_validator(mode="after")
    def _missing_values(self) -> DataConfig:
        if not all(math.isfinite(value) for value in self.missing_values):
            raise ValueError(
                f"missing_values must be finite numbers; NaN is always missing. Received: {list(self.missing_values)}"
            )
        if self.missing_mask and self.missing == "error" and not self.simulate_missing:
            raise ValueError(
                "missing_mask would always say that nothing is missing. Received: true, with missing error and "
                "simulate_missing 0. Set missing to mean or interpolate, or simulate_missing above 0"
            )
        return self

    @model_validator(mode="after")
    def _sizes_and_fractions(self) -> DataConfig:
        if self.image_size is not None and not all(8 <= side <= 4096 for side in self.image_size):
            raise ValueError(f"image_size must be two sides of 8 to 4096 pixels. Received: {list(self.image_size)}")
        if self.valid_fraction + self.test_fraction >= 0.8:
            raise ValueError(
                "valid_fraction and test_fraction must leave at least a fifth for training. "
                f"Received: {self.valid_fraction} and {self.test_fraction}"
            )
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be different names. Received: {list(self.classes)}")
        return self


FillMode = Literal["nearest", "reflect", "wrap", "constant"]


class ColorJitter(Section):
    """Random changes of hue, saturation and value, the variation that staining and scanners bring.

    All three are one linear product on RGB (see `assay.augmentation.color`).
    """

    hue: float = Field(0.0, ge=0, le=0.5, description="fraction of the colour circle: uniform in -h..h")
    saturation: float = Field(0.0, ge=0, le=2, description="log-range: factor exp(uniform -s..s)")
    value: float = Field(0.0, ge=0, le=2, description="log-range: factor exp(uniform -v..v)")


class SignalChange(Section):
    """Random changes of sensor windows, as a sensor would have given them another time."""

    jitter: float = Field(0.0, ge=0, le=2, description="noise added to each value, in its channel's deviations")
    scale: float = Field(0.0, ge=0, le=2, description="log-range of each channel's factor about its mean")
    shift: float = Field(0.0, ge=0, le=0.5, description="fraction of the window: moved in time, -s..s; ends repeat")


class Policy(Section):
    """Ranges of random changes, with the names, meanings and units of Keras's ``ImageDataGenerator``.

    The default policy changes nothing. ``quarter_turns``, ``color_jitter`` and ``signal`` are additions; ``signal`` is
    for sensor windows, all others are for images.
    """

    rotation_range: float = Field(0.0, ge=0, le=180, description="degrees: uniform in -r..r")
    quarter_turns: bool = Field(False, description="turn by 0, 90, 180 or 270 degrees (square images; lossless)")
    width_shift_range: float = Field(0.0, ge=0, le=1, description="fraction of the width: uniform in -r..r")
    height_shift_range: float = Field(0.0, ge=0, le=1, description="fraction of the height: uniform in -r..r")
    shear_range: float = Field(0.0, ge=0, lt=90, description="degrees, as Keras means it: 0.1 is a tenth of a degree")
    zoom_range: float = Field(0.0, ge=0, lt=1, description="fraction: each axis scaled by uniform 1-r..1+r")
    brightness_range: tuple[float, float] | None = Field(
        None, description="factors low..high by which the image is multiplied; null: none"
    )
    horizontal_flip: bool = Field(False, description="mirror left-right with probability one half")
    vertical_flip: bool = Field(False, description="mirror up-down with probability one half")
    color_jitter: ColorJitter | None = Field(None, description="random hue, saturation and value; null: none")
    signal: SignalChange | None = Field(None, description="of sensor windows: noise, gain, shift; null: none")
    zca_whitening: bool = Field(False, description="whiten with a matrix fitted on the training split")
    fill_mode: FillMode = Field("nearest", description="what stands outside the image's border")
    fill_value: float = Field(0.0, ge=0, le=255, description="grey level outside the border for fill_mode constant")
    views: int = Field(0, ge=0, le=64, description="cached augmented views of each image; 0: fresh ones each epoch")

    @model_validator(mode="after")
    def _brightness_is_a_range(self) -> Policy:
        if self.brightness_range is not None:
            low, high = self.brightness_range
            if not 0 <= low <= high <= 10:
                raise ValueError(
                    f"brightness_range must be two factors with 0 <= low <= high <= 10. Received: [{low}, {high}]"
                )
        return self


class AblationConfig(Section):
    """A small model trained briefly with each operation left out, to see which ones help."""

    enabled: bool = Field(False, description="train the ablation's models")
    model: str = Field("compact", description="name of a registered model")
    epochs: int = Field(4, ge=1, le=200, description="epochs for each model")
    seeds: int = Field(3, ge=2, le=20, description="repeats of each variant; the interval is over them")
    images: int = Field(2000, ge=50, description="training images used, drawn evenly from the classes")
    adopt: bool = Field(False, description="train everything that follows with the recommended policy")


class AugmentConfig(Section):
    """The augmentation policy and what is shown of it."""

    policy: Policy = Field(default_factory=Policy, description="ranges of the random changes; see augmentation/policy")
    preview_images: int = Field(4, ge=1, le=32, description="images on the preview page")
    ablation: AblationConfig = Field(default_factory=AblationConfig)

    @property
    def chooses(self) -> bool:
        """Whether the step decides on the policy: else the config already says which it is."""
        return self.ablation.enabled and self.ablation.adopt


class OptimizerConfig(Section):
    """One optimizer and its learning-rate schedule."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = Field("adam", description="the update rule")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak step size")
    schedule: Literal["constant", "cosine", "inverse_time"] = Field(
        "constant", description="cosine falls to 0 at the last step; inverse_time is the old `decay` of Keras"
    )
    decay: float = Field(0.0, ge=0, lt=1, description="per step, for inverse_time: lr / (1 + decay * step)")
    warmup_steps: int = Field(0, ge=0, description="steps over which the rate rises from a twentieth, for cosine")
    momentum: float = Field(0.0, ge=0, lt=1, description="for sgd and rmsprop")
    nesterov: bool = Field(False, description="for sgd")
    weight_decay: float | None = Field(None, ge=0, lt=1, description="decoupled, per step times learning rate")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of each gradient; null: no limit")
    ema: float | None = Field(None, gt=0, lt=1, description="keep an average of the weights with this momentum")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor on the rate from each layer of the base to the one before; 1: one rate"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> OptimizerConfig:
        if self.layer_decay != 1 and self.name == "rmsprop":
            raise ValueError(f"layer_decay needs adam, adamw or sgd. Received: rmsprop, layer_decay {self.layer_decay}")
        if self.nesterov and not (self.name == "sgd" and self.momentum > 0):
            raise ValueError(
                f"nesterov needs sgd with momentum above 0. Received: {self.name}, momentum {self.momentum}"
            )
        if self.decay and self.schedule != "inverse_time":
            raise ValueError(f"decay needs schedule: inverse_time. Received: schedule {self.schedule}")
        return self


class ModelConfig(Section):
    """A registered architecture and its options."""

    name: str = Field("cnn3", description="a name from `assay models list`")
    options: dict[str, Any] = Field(default_factory=dict, description="options of that model; `assay models show NAME`")
    output: Literal["softmax", "sigmoid"] = Field("softmax", description="sigmoid: one output, for two classes")


class CallbacksConfig(Section):
    """What may end or slow a training run."""

    monitor: Literal["val_auc", "val_loss", "val_accuracy"] = Field("val_auc", description="what the best epoch means")
    early_stopping_patience: int | None = Field(None, ge=1, description="epochs without a better value; null: never")
    reduce_on_plateau_patience: int | None = Field(None, ge=1, description="epochs before the rate falls; null: never")
    reduce_on_plateau_factor: float = Field(0.5, gt=0, lt=1, description="factor on the learning rate")
    not_learning_steps: int | None = Field(
        500, ge=20, description="stop where loss, accuracy and ranking show no learning for so many steps"
    )


class TrainConfig(Section):
    """One training run of one model."""

    epochs: int = Field(10, ge=0, le=10_000, description="passes over the training split")
    batch_size: int = Field(32, ge=1, le=65_536, description="images a step")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    callbacks: CallbacksConfig = Field(default_factory=CallbacksConfig)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="probability mass moved off the given label")
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: rare classes count for more")


class BaselineConfig(TrainConfig):
    """The floor that anything else must beat: a small network trained from scratch."""

    enabled: bool = Field(True, description="train the baseline")
    model: ModelConfig = Field(default_factory=ModelConfig)


class SpaceConfig(Section):
    """The values that the search may take, each a list of choices."""

    width: tuple[int, ...] = Field((16, 32), min_length=1, description="filters of the first block")
    depth: tuple[int, ...] = Field((2, 3), min_length=1, description="convolution blocks, each with a pool")
    kernel: tuple[int, ...] = Field((3, 5), min_length=1, description="side of the convolutions, pixels")
    pooling: tuple[Literal["average", "flatten"], ...] = Field(
        ("average", "flatten"), min_length=1, description="what lies between the blocks and the dense layer"
    )
    dense: tuple[int, ...] = Field((0, 64), min_length=1, description="units before the output; 0: none")
    dropout: tuple[float, ...] = Field((0.0, 0.25, 0.5), min_length=1, description="fraction dropped before the output")
    optimizer: tuple[Literal["adam", "adamw", "sgd", "rmsprop"], ...] = Field(
        ("adam", "sgd"), min_length=1, description="what takes the steps"
    )
    batch_size: tuple[int, ...] = Field((32, 64), min_length=1, description="images a step")
    learning_rate: tuple[float, float] = Field((1e-4, 1e-2), description="low and high, drawn on a log scale")

    @model_validator(mode="after")
    def _in_range(self) -> SpaceConfig:
        low, high = self.learning_rate
        if not 0 < low <= high <= 10:
            raise ValueError(f"learning_rate must be 0 < low <= high <= 10. Received: [{low}, {high}]")
        bounds = {
            "width": (1, 2048),
            "depth": (1, 8),
            "kernel": (1, 31),
            "dense": (0, 65_536),
            "batch_size": (1, 65_536),
        }
        for field, (least, most) in bounds.items():
            wrong = [value for value in getattr(self, field) if not least <= value <= most]
            if wrong:
                raise ValueError(f"{field} must lie in {least}..{most}. Received: {wrong}")
        if any(not 0 <= value < 1 for value in self.dropout):
            raise ValueError(f"dropout must lie in 0..1 (1 excluded). Received: {list(self.dropout)}")
        return self


class SearchConfig(Section):
    """A hyperparameter search with KerasTuner."""

    enabled: bool = Field(True, description="run the search")
    hypermodel: Literal["cnn", "vgg16_head"] = Field("cnn", description="what is searched: a CNN, or a head on VGG16")
    tuner: Literal["random", "bayesian", "hyperband"] = Field("hyperband", description="KerasTuner's oracle")
    trials: int = Field(6, ge=1, le=10_000, description="trials; hyperband runs as many as fit the same epochs")
    epochs: int = Field(6, ge=1, le=1_000, description="epochs of a full-length trial")
    budget: float = Field(
        1.0, gt=0, le=1, description="for hyperband: fraction of trials x epochs that is spent in all, at most"
    )
    finish_best: bool = Field(
        False, description="train the best trial on to its full epochs, beyond the budget, where hyperband cut it"
    )
    objective: Literal["val_auc", "val_loss", "val_accuracy"] = Field("val_auc", description="what the best trial has")
    space: SpaceConfig = Field(default_factory=SpaceConfig)
    max_parameters: int = Field(
        20_000_000, ge=100, description="weights of one model; configurations with more are never drawn"
    )
    weights: str = Field("imagenet", description="for vgg16_head: as finetune.weights")
    callbacks: CallbacksConfig = Field(
        default_factory=CallbacksConfig, description="of each trial; `objective` stands for `monitor`"
    )
    class_weights: Literal["none", "balanced"] = Field("none", description="of each trial; as baseline.class_weights")
    workers: int = Field(1, ge=1, le=64, description="trials at the same time: processes here, pods on a cluster")
    placement: Literal["auto", "processes", "pods"] = Field(
        "auto", description="where workers run; auto: pods in a cluster with storage that pods share"
    )
    worker_restarts: int = Field(3, ge=0, le=100, description="times that a dead worker is started again")
    deadline_minutes: float | None = Field(
        None, gt=0, description="begin no epoch after so long and take the best so far; null: no limit"
    )

    @property
    def in_pods(self) -> bool:
        """Whether on a cluster worker pods run the trials; else the step itself does."""
        return self.placement == "pods" or (self.placement == "auto" and self.workers > 1)

    @property
    def chief_waits(self) -> bool:
        """Whether on a cluster the step itself computes nothing that wants an accelerator.

        It does where it computes features of a pretrained network, and where it trains the best trial on.
        """
        return self.in_pods and self.hypermodel == "cnn" and not self.finish_best


class FinetuneConfig(TrainConfig):
    """Transfer learning in two phases: the head on a frozen base, then an unfrozen tail at a low rate.

    ``frozen`` describes phase 1; the section's own ``epochs``, ``batch_size``, ``optimizer``... phase 2.
    """

    enabled: bool = Field(True, description="fine-tune a pretrained model")
    model: ModelConfig = Field(default_factory=lambda: ModelConfig(name="vgg16", options={"head": "pooled"}))
    weights: str = Field("imagenet", description="imagenet, none (random, said loudly), or a path or gs:// URI of .h5")
    frozen: TrainConfig = Field(
        default_factory=lambda: TrainConfig(epochs=10, optimizer=OptimizerConfig(learning_rate=1e-3)),
        description="phase 1: the head alone",
    )
    unfreeze_from: str | int | None = Field(
        "block4_conv1", description="first layer of the base to train in phase 2, by name or index; null: all"
    )
    epochs: int = Field(6, ge=0, le=10_000, description="passes over the training split in phase 2; 0: frozen only")
    optimizer: OptimizerConfig = Field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=5e-5, schedule="cosine", warmup_steps=100, weight_decay=1e-4
        )
    )
    frozen_views: int = Field(
        2,
        ge=0,
        le=64,
        description="augmented views of each image for phase 1, where policy.views is 0; 0: new ones each epoch",
    )
    cache: Literal["auto", "always", "never"] = Field(
        "auto", description="features of the frozen prefix kept on disk; changes the time taken, not what is trained"
    )


class EvaluateConfig(Section):
    """How candidates are judged on the test split."""

    threshold: Literal["youden", "accuracy", "f1", "sensitivity", "specificity", "fixed"] = Field(
        "youden", description="rule by which the threshold is chosen, on the validation split"
    )
    threshold_target: float = Field(0.95, gt=0, lt=1, description="for sensitivity and specificity: the least value")
    threshold_confidence: float = Field(
        0.9, ge=0.5, lt=1, description="for sensitivity and specificity: that later cases reach the target"
    )
    threshold_value: float = Field(0.5, gt=0, lt=1, description="for fixed: the probability itself")
    decision: Literal["balanced_accuracy", "f1", "most_probable"] = Field(
        "balanced_accuracy",
        description="of three classes or more: metric by which class offsets are chosen, on the validation split",
    )
    calibration: Literal["none", "temperature", "scaling", "isotonic"] = Field(
        "scaling",
        description="what is fitted to the probabilities on the validation split; class weights are taken off before",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")
    resamples: int = Field(2000, ge=100, le=100_000, description="bootstrap resamples, by group where there are groups")
    test_time_augmentation: bool = Field(
        False, description="also report the best model averaged over flips and quarter turns (8 times the work)"
    )
    gradcam_images: int = Field(8, ge=0, le=64, description="Grad-CAM pictures in the report")


class PromoteConfig(Section):
    """When a challenger takes the champion's place."""

    enabled: bool = Field(True, description="change the registry; false: only say what would be done")
    metric: Literal["auc", "accuracy", "sensitivity", "specificity", "brier"] = Field(
        "auc", description="what the challenger must be better in"
    )
    min_gain: float = Field(0.0, ge=0, lt=1, description="least gain over the champion, in units of the metric")
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="level of all comparisons with one champion together; each look spends a part"
    )
    min_value: float | None = Field(None, ge=0, le=1, description="never promote below this value; null: no floor")
    beat_guessing: bool = Field(
        True, description="the first champion must rank better than guessing; false: to try the machinery alone"
    )
    beat_baseline: bool = Field(
        True, description="the first champion must be better than the baseline, by the lower end of the interval"
    )
    counterpart_margin: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="for sensitivity and specificity: how much of the other may be lost, by the lower end",
    )


class StorageConfig(Section):
    """Where snapshots, checkpoints and models live."""

    root: str = Field("runs/store", description="a local directory or gs://bucket/prefix")

    @model_validator(mode="after")
    def _known_scheme(self) -> StorageConfig:
        refuse_unknown_scheme(self.root)
        return self


class RuntimeConfig(Section):
    """How the machine is used; none of it changes what is trained beyond rounding."""

    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto", description="auto: bfloat16 where the processor or GPU has it, float16 on older GPUs, else float32"
    )
    workers: int | None = Field(None, ge=1, le=256, description="threads and processes; null: the cores there are")
    deterministic: bool = Field(False, description="TensorFlow's deterministic operations: exact repeats, slower")
    jit_compile: Literal["auto", "always", "never"] = Field("auto", description="XLA; auto: on GPUs, never on CPU")
    steps_per_execution: int | None = Field(None, ge=1, description="steps in one call; null: by device")
    checkpoint_minutes: float = Field(
        5.0, gt=0, le=1440, description="between checkpoints within an epoch; there is one at each epoch's end anyway"
    )
    cache_dir: str | None = Field(None, description="feature caches; null: ASSAY_CACHE or the user's cache folder")
    cache_gigabytes: float = Field(20.0, gt=0, description="largest size of the feature caches, gigabytes")


class ValidateConfig(Section):
    """Cross-validation: every image is tested once, by a model that has seen nothing of its group."""

    folds: int = Field(
        0,
        ge=0,
        le=20,
        description="each candidate is trained so many times, and its models kept as one; 0: once, on a single split",
    )

    @field_validator("folds")
    @classmethod
    def _one_fold_is_none(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("folds must be 0 (a single split) or 2 to 20: one fold trains on nothing. Received: 1")
        return folds


# The steps that each train a model of their own, in the order of the graph; any of them can be left out.
CANDIDATES = ("baseline", "search", "finetune")


with warnings.catch_warnings():
    # Pydantic's models once had a method of this name, which no one calls any more.
    warnings.filterwarnings("ignore", 'Field name "validate"', UserWarning)

    class RunConfig(Section):
        """A whole run. ``assay config show`` prints it with every default filled in."""

        version: Literal[1] = Field(..., description="version of this schema")
        name: str = Field(
            "assay", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="name of the model kept"
        )
        seed: int = Field(0, ge=0, lt=2**31, description="of splits, initial weights, order and augmentation")
        data: DataConfig = Field(default_factory=DataConfig)
        augment: AugmentConfig = Field(default_factory=AugmentConfig)
        baseline: BaselineConfig = Field(default_factory=BaselineConfig)
        search: SearchConfig = Field(default_factory=SearchConfig)
        finetune: FinetuneConfig = Field(default_factory=FinetuneConfig)
        evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
        validate: ValidateConfig = Field(default_factory=ValidateConfig)  # type: ignore[assignment]
        promote: PromoteConfig = Field(default_factory=PromoteConfig)
        storage: StorageConfig = Field(default_factory=StorageConfig)
        runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)

        @model_validator(mode="after")
        def _something_to_train(self) -> RunConfig:
            if not any(getattr(self, name).enabled for name in CANDIDATES):
                raise ValueError(
                    "at least one of baseline, search and finetune must be enabled. Received: none of them"
                )
            return self

        @model_validator(mode="after")
        def _folds_stay_apart(self) -> RunConfig:
            if not self.validate.folds:
                return self
            if self.augment.ablation.adopt:
                raise ValueError(
                    "augment.ablation.adopt chooses a policy on images that folds are tested on. Received: true, with "
                    f"validate.folds {self.validate.folds}. Set one of them to false or 0"
                )
            if self.data.missing != "error":
                raise ValueError(
                    "data.missing fills windows with means of one training split, which folds are tested on. Received: "
                    f"{self.data.missing}, with validate.folds {self.validate.folds}. Fill them before, or set "
                    "validate.folds to 0"
                )
            return self
