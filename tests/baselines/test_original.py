"""The original's YAML files: read as data, translated, and told in terms of presets."""

import pytest
import yaml

from baselines.original import (
    config_from_detectron2,
    read_original,
    read_yaml,
    train_from_detectron2,
)
from baselines.original.keys import DEFAULTS, flatten
from baselines.overrides import override
from baselines.predict import main as predict
from baselines.presets import PRESETS, get_preset
from baselines.train import main as train
from entityseg_bench.demo import write_demo
from entityseg_bench.integrations.dataset_names import DATASETS
from entityseg_bench.io import InputError

TRAINED = sorted(
    name for name in PRESETS
    if not name.endswith("_tiny") and get_preset(name).train.steps > 9999
    and not get_preset(name).is_recipe
)  # fmt: skip


@pytest.fixture
def original(data):
    return data / "original"


def write(folder, text, name="own.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def own(folder, original, text):
    """Write a file that changes the small one's settings."""
    return write(folder, f"_BASE_: {original / 'base.yaml'}\n{text}")


def test_bases_are_merged(original):
    cfg = read_yaml(original / "cropformer.yaml")
    assert cfg["MODEL"]["META_ARCHITECTURE"] == "CropFormer"
    assert cfg["MODEL"]["MASK_FORMER"]["NHEADS"] == 4
    assert cfg["INPUT"]["MIN_SIZE_TRAIN"] == (48, 64)
    assert "_BASE_" not in cfg


def test_several_bases(tmp_path):
    write(tmp_path, "A: 1\nB: 1\n", "one.yaml")
    write(tmp_path, "B: 2\nC: {D: 2}\n", "two.yaml")
    path = write(tmp_path, "_BASE_: [one.yaml, two.yaml]\nC: {E: 3}\n")
    assert read_yaml(path) == {"A": 1, "B": 2, "C": {"D": 2, "E": 3}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('("a", "b",)', ("a", "b")),
        ("1e-4", 1e-4),
        ("R-50.pkl", "R-50.pkl"),
        ("[1, 2]", [1, 2]),
        ("null", None),
        ("{A: 1}\nX: 2", 2),
        (
            '!!python/object/apply:eval ["[int(x * 0.1 * 512) for x in range(5, 8)]"]',
            [256, 307, 358],
        ),
        ('!!python/object/apply:eval ["[-x // 2 for x in range(0, 6, 2)]"]', [0, -1, -2]),
        ("!!python/tuple [1, 2]", (1, 2)),
    ],
)
def test_values(tmp_path, text, value):
    assert read_yaml(write(tmp_path, f"X: {text}\n")) == {"X": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('!!python/object/apply:os.system ["true"]', "line 1: the tag .*os.system would run code"),
        ("!!python/name:os.system", "would run code"),
        ('!!python/object/apply:eval ["__import__(chr(111))"]', "only arithmetic over a range"),
        ('!!python/object/apply:eval ["[x for x in range(10 ** 9)]"]', "only arithmetic"),
        ('!!python/object/apply:eval ["[x for x in range(99999999)]"]', "only arithmetic"),
        ('!!python/object/apply:eval ["[(lambda: 1)() for x in range(3)]"]', "only arithmetic"),
        ('!!python/object/apply:eval ["1 / 0"]', "only arithmetic"),
        ('!!python/object/apply:eval ["[1] * 9"]', "only arithmetic"),
        ("[1, 2", "it is no YAML"),
        (f'!!python/object/apply:eval ["{"-" * 20_000}1"]', "only arithmetic"),
        (
            '!!python/object/apply:eval ["[[y for y in range(9999)] for x in range(9999)]"]',
            "only arithmetic",
        ),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("&a [*a]", "nested too deeply"),
        ("&a " + str([1] * 99) + "\nY: &b [" + "*a," * 99 + "]\nZ: [*b, *b]", "aliases stand for"),
    ],
)
def test_nothing_is_run(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_yaml(write(tmp_path, f"X: {text}\n"))


def test_broken_files_say_so(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="no mapping"):
        read_yaml(write(tmp_path, "- 1\n"))
    with pytest.raises(InputError, match=r"its base .*away.yaml is missing"):
        read_yaml(write(tmp_path, "_BASE_: away.yaml\n"))
    with pytest.raises(InputError, match="is no file"):
        read_yaml(write(tmp_path, "_BASE_: https://example.org/a.yaml\n"))
    write(tmp_path, "_BASE_: a.yaml\n", "b.yaml")
    with pytest.raises(InputError, match="based on itself"):
        read_yaml(write(tmp_path, "_BASE_: b.yaml\n", "a.yaml"))
    write(tmp_path, "A: 1\n", "value.yaml")
    with pytest.raises(InputError, match="A: it is a group here and a value in its base"):
        read_yaml(write(tmp_path, "_BASE_: value.yaml\nA: {B: 1}\n"))
    assert read_yaml(write(tmp_path, "")) == {}


def test_reading_agrees_with_the_unsafe_loader(shared):
    """Files without strings that are literals mean the same to PyYAML's own loader."""
    for path in (shared / "golden/state_dicts").glob("*.cfg.yaml"):
        assert read_yaml(path) == yaml.unsafe_load(path.read_text(encoding="utf-8"))


def test_the_small_files(original):
    base = read_original(original / "base.yaml")
    assert base.preset.startswith("mask2former_swin")
    assert base.model.backbone.embed_dim == 24
    assert (base.model.task, base.model.num_views, base.model.decoder_layers) == ("entity", 1, 2)
    assert base.train.lr == 1e-3
    assert (base.train.augment.canvas, base.train.augment.scale_range) == (96, (0.8, 1.2))
    assert base.train.precision == "float32"
    crops = read_original(original / "cropformer.yaml")
    assert crops.preset.startswith("cropformer_swin")
    assert crops.model.num_views == 5
    assert crops.train.augment.short_sides == (48, 64)
    assert crops.train.augment.corner_crops == 1
    semantic = read_original(original / "semantic.yaml")
    assert (semantic.model.task, semantic.model.num_classes) == ("semantic", 150)
    assert semantic.train.augment.short_sides == (76, 86, 96)
    assert (semantic.train.augment.window, semantic.train.augment.colour) == (64, True)
    for name in ("instance", "panoptic"):
        assert read_original(original / f"{name}.yaml").model.task == name


@pytest.mark.parametrize("name", ["base", "cropformer", "instance", "panoptic", "semantic"])
def test_differences_are_what_set_takes(original, name):
    found = read_original(original / f"{name}.yaml")
    preset = get_preset(found.preset)
    roots = {"model": preset.model, "train": preset.train}
    assert override(roots, found.differences) == {"model": found.model, "train": found.train}
    assert str(found).startswith(f"preset {found.preset} with ")


@pytest.mark.parametrize("name", TRAINED)
def test_the_originals_files_are_the_presets(shared, tmp_path, name):
    """Up to what the original's own files leave out or put off; see docs/train.md."""
    task = get_preset(name).model.task
    stem = f"{task}_segmentation__{name.removesuffix('_' + task)}.cfg.yaml"
    found = read_original(shared / "golden/state_dicts" / stem)
    expected = {
        "entity": {"train.evaluate_every=400000"},
        "instance": {"train.evaluate_every=50000"},
        "semantic": {"train.evaluate_every=50000"},
        "panoptic": {"train.evaluate_every=50000"},
    }[task]
    if name == "cropformer_swin_tiny_3x":
        expected = {*expected, "train.steps=34375"}
    assert set(found.differences) == expected
    assert get_preset(found.preset).model == get_preset(name).model
    assert any(note.startswith("MODEL.WEIGHTS") for note in found.notes)


def test_a_copy_made_with_the_files_name_finds_its_preset(shared, tmp_path):
    folder = shared / "golden/state_dicts"
    text = (folder / "entity_segmentation__mask2former_hornet_3x_lr.cfg.yaml").read_text()
    found = read_original(write(tmp_path, text, "mask2former_hornet_3x_lr.yaml"))
    assert found.preset == "mask2former_hornet_3x_lr"
    assert "DATASETS.TEST is of low resolution: predict with --resolution low" in found.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "MODEL: {SWIM: {EMBED_DIM: 1}}\nXYZ: 1",
            r"unknown keys: MODEL.SWIM.EMBED_DIM \(near .*XYZ",
        ),
        ("MODEL: {META_ARCHITECTURE: PanopticFPN}", "no reference model here is a PanopticFPN"),
        ("MODEL: {BACKBONE: {NAME: D2Focal}}", "no backbone here is a D2Focal"),
        ("MODEL: {SWIN: {APE: true}}", "MODEL.SWIN.APE is True and only False is known here"),
        ("INPUT: {FORMAT: BGR}", "INPUT.FORMAT is 'BGR'"),
        ("MODEL: {MASK_FORMER: {DROPOUT: 0.1}}", "MODEL.MASK_FORMER.DROPOUT is 0.1"),
        ("MODEL: {SEM_SEG_HEAD: {CONVS_DIM: 32}}", "CONVS_DIM 32 and .*HIDDEN_DIM 64 are one"),
        ("MODEL: {MASK_FORMER: {NHEADS: many}}", "NHEADS is 'many', where something like 8"),
        ("MODEL: {MASK_FORMER: {NHEADS: true}}", "NHEADS is True"),
        ("SOLVER: {OPTIMIZER: SGD}", "SOLVER.OPTIMIZER is 'SGD'"),
        ("SOLVER: {CLIP_GRADIENTS: {CLIP_TYPE: value}}", "CLIP_TYPE value"),
        ("INPUT: {DATASET_MAPPER_NAME: other}", "DATASET_MAPPER_NAME other is not known"),
        ("INPUT: {RANDOM_FLIP: vertical}", "RANDOM_FLIP vertical"),
        (
            "MODEL: {MASK_FORMER: {TRANSFORMER_DECODER_NAME: StandardTransformerDecoder}}",
            "the decoder of a MaskFormer is no StandardTransformerDecoder",
        ),
        (
            "INPUT: {DATASET_MAPPER_NAME: mask_former_semantic, CROP: {ENABLED: true}}",
            "only absolute squares",
        ),
        (
            'DATASETS:\n  TRAIN: ("entityv2_entity_train_01", "entityv2_entity_train_02_lr")',
            "mixes resolutions high and low",
        ),
    ],
)
def test_what_is_not_here_is_named(original, tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_original(own(tmp_path, original, text))


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("SOLVER: {AMP: {ENABLED: true}}", "precision", "bfloat16"),
        ("SOLVER: {CLIP_GRADIENTS: {ENABLED: false}}", "clip_norm", 0.0),
        ("SOLVER: {WARMUP_FACTOR: 0.001, WARMUP_ITERS: 10}", "warmup_steps", 10),
        ("SOLVER: {WARMUP_FACTOR: 1.0, WARMUP_ITERS: 10}", "warmup_steps", 0),
        ("SEED: 7", "seed", 7),
        ("MODEL: {SWIN: {USE_CHECKPOINT: true}}", "recompute", True),
        ('DATASETS:\n  TRAIN: ("entityv2_entity_train_02",)', "parts", ("02",)),
        ('DATASETS:\n  TRAIN: ("entityv2_entity_train_all_lr",)', "resolution", "low"),
        ('DATASETS:\n  TRAIN: ("entityv2_entity_val_all",)', "split", "val"),
    ],
)
def test_training_settings(original, tmp_path, text, field, value):
    found = read_original(own(tmp_path, original, text))
    assert getattr(found.train, field) == value


def test_a_model_alone(original, tmp_path):
    """Who predicts need not mind how it was trained."""
    path = own(tmp_path, original, "SOLVER: {OPTIMIZER: SGD}\nMODEL: {WEIGHTS: R-50.pkl}")
    found = read_original(path, training=False)
    assert found.model == read_original(original / "base.yaml").model
    assert found.train == get_preset(found.preset).train
    assert not found.notes
    assert all(change.startswith("model.") for change in found.differences)


def test_other_data_sets_are_noted(original, tmp_path):
    found = read_original(own(tmp_path, original, 'DATASETS:\n  TRAIN: ("coco_2017_train",)'))
    assert "DATASETS.TRAIN coco_2017_train: no EntitySeg; name the data's files" in found.notes


def test_defaults_stand_for_what_is_not_named(shared):
    """A resolved file, and the same without any key that has its default, mean the same."""
    cfg = read_yaml(
        shared / "golden/state_dicts/entity_segmentation__cropformer_hornet_3x.cfg.yaml"
    )
    differing = {k: v for k, v in flatten(cfg).items() if DEFAULTS.get(k) != v}
    nested: dict = {}
    for key, value in differing.items():
        *groups, name = key.split(".")
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    assert len(differing) < len(flatten(cfg))
    assert config_from_detectron2(nested) == config_from_detectron2(cfg)
    assert train_from_detectron2(nested) == train_from_detectron2(cfg)


def test_names_of_the_original():
    assert len(DATASETS) == 28
    subset = DATASETS["entityv2_entity_train_all_lr"]
    assert (subset.task, subset.split, subset.resolution, subset.parts) == (
        "entity", "train", "low", None,
    )  # fmt: skip
    assert DATASETS["entityv2_sem150_test"].split == "val"
    assert DATASETS["entityv2_entity_train_03"].parts == ("03",)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo"), n_images=12, size=(48, 64))


def test_train_and_predict_take_the_file(demo, original, tmp_path, capsys):
    path = own(tmp_path, original, 'DATASETS:\n  TRAIN: ("entityv2_entity_train_01",)')
    run = tmp_path / "run"
    file = ["--config-file", str(path)]
    settings = ["--set", "train.workers=0"]
    assert train([*file, "--data", str(demo), "--out", str(run), *settings]) == 0
    told = capsys.readouterr().err
    assert "preset mask2former_swin" in told
    assert "train.parts=01" in told
    weights = str(run / "model.safetensors")
    arguments = ["--weights", weights, "--images", str(demo)]
    assert predict([*file, *arguments, "--out", str(tmp_path / "a.json")]) == 0
    assert predict([*arguments, "--out", str(tmp_path / "b.json")]) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_preset_or_a_file(original, tmp_path, capsys):
    file = ["--config-file", str(original / "base.yaml")]
    assert train(["mask2former_tiny", *file, "--data", "x", "--out", str(tmp_path)]) == 2
    assert train(["--data", "x", "--out", str(tmp_path)]) == 2
    rest = ["--weights", "x", "--images", "x", "--out", str(tmp_path)]
    assert predict(["mask2former_tiny", *file, *rest]) == 2
    assert capsys.readouterr().err.count("name a preset") == 3
