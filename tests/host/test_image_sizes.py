"""Transformers are built for the image size asked for, and their weights' positions follow, as timm makes them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from conftest import run_cli, transformer_weights
from safetensors.torch import load_file, save_file

from patchcore_edge.models import Patchcore, PatchcoreModel, TimmFeatureExtractor
from patchcore_edge.models.weights import load_weights
from patchcore_edge_runtime.errors import ConfigError

DINO = "vit_small_patch14_dinov2.lvd142m"
SIZES = [
    ("vit_tiny_patch16_224", ("blocks.1", "blocks.3"), (96, 128)),
    ("test_vit", ("blocks.3",), (96, 128)),  # built to resample positions in each forward pass
    ("test_vit", ("blocks.3",), (80, 320)),  # as many patches as it was trained with, in another shape
    ("test_vit2", ("blocks.1",), (160, 160)),
    ("swin_tiny_patch4_window7_224", ("layers.0", "layers.1"), (224, 280)),
    ("resnet18", ("layer2",), (75, 97)),
]


def whole_weights(backbone: str, path: Path) -> dict[str, torch.Tensor]:
    transformer_weights(backbone, path)
    return load_file(path)


@pytest.mark.parametrize(("backbone", "layers", "size"), SIZES)
def test_weights_of_a_file_give_the_features_that_timm_gives_at_that_size(
    backbone: str, layers: tuple[str, ...], size: tuple[int, int], tmp_path: Path
) -> None:
    given = whole_weights(backbone, tmp_path / "w.safetensors")
    extractor = TimmFeatureExtractor(backbone, layers, pre_trained=False, image_size=size)
    load_weights(extractor.network, tmp_path / "w.safetensors")

    sized = {} if backbone.startswith("resnet") else {"img_size": size}
    names = [layer["module"] for layer in timm.create_model(backbone, features_only=True, **sized).feature_info.info]
    theirs = timm.create_model(
        backbone,
        pretrained=True,
        features_only=True,
        out_indices=[names.index(layer) for layer in layers],
        pretrained_cfg_overlay={"state_dict": given},
        **sized,
    ).eval()
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected, got = theirs(images), extractor(images)
    for layer, feature in zip(layers, expected, strict=True):
        wanted = feature.permute(0, 3, 1, 2) if backbone.startswith("swin") else feature
        torch.testing.assert_close(got[layer], wanted)
        assert extractor.grids(size)[layer] == tuple(wanted.shape[-2:])


def test_a_resampled_file_is_said_in_one_line_and_its_class_token_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = whole_weights("vit_tiny_patch16_224", tmp_path / "w.safetensors")["pos_embed"]
    extractor = TimmFeatureExtractor("vit_tiny_patch16_224", ["blocks.0"], pre_trained=False, image_size=(64, 96))
    load_weights(extractor.network, tmp_path / "w.safetensors")
    (message,) = caplog.messages
    assert message.endswith("w.safetensors: positions were resampled to 4x6 patches.")
    own = extractor.network.state_dict()["model.pos_embed"]
    assert own.shape == (1, 1 + 4 * 6, given.shape[2])
    assert torch.equal(own[:, 0], given[:, 0])


def test_relative_positions_follow_to_smaller_windows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backbone, table = "swin_tiny_patch4_window7_224", "layers.2.blocks.1.attn.relative_position_bias_table"
    given = whole_weights(backbone, tmp_path / "w.safetensors")
    given[table] = torch.arange(13 * 13.0).reshape(-1, 1).expand(-1, given[table].shape[1]).contiguous()
    save_file(given, tmp_path / "w.safetensors")
    # Six patches are fewer than a window of seven.
    extractor = TimmFeatureExtractor(backbone, ["layers.2"], pre_trained=False, image_size=(96, 96))
    load_weights(extractor.network, tmp_path / "w.safetensors")
    (message,) = caplog.messages
    assert message.endswith("relative positions were resampled to 6x6 patches.")
    square = extractor.network.state_dict()[table.replace("layers.2", "layers_2")][:, 0].reshape(11, 11)
    assert float(square[5, 5]) == pytest.approx(84)  # no distance at all is still in the middle
    assert float(square[8, 5] - square[7, 5]) == pytest.approx(13 * 13 / 11, rel=0.1)
    assert float(square[5, 8] - square[5, 7]) == pytest.approx(13 / 11, rel=0.1)
    assert extractor(torch.zeros(1, 3, 96, 96))["layers.2"].shape[-2:] == (6, 6)


def test_at_its_own_size_nothing_is_resampled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = whole_weights("test_vit", tmp_path / "w.safetensors")
    extractor = TimmFeatureExtractor("test_vit", ["blocks.0"], pre_trained=False, image_size=(160, 160))
    load_weights(extractor.network, tmp_path / "w.safetensors")
    assert torch.equal(extractor.network.state_dict()["model.pos_embed"], given["pos_embed"])
    assert caplog.messages == []


def test_weights_downloaded_before_are_read_without_a_network_and_follow_to_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole_weights("test_vit", tmp_path / "w.safetensors")
    repository = tmp_path / "hub" / f"models--{timm.get_pretrained_cfg('test_vit').hf_hub_id.replace('/', '--')}"
    (repository / "snapshots" / "0123abcd").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    shutil.copy(tmp_path / "w.safetensors", repository / "snapshots" / "0123abcd" / "model.safetensors")
    monkeypatch.delenv("PATCHCORE_EDGE_WEIGHTS", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # each request is an error
    with caplog.at_level(logging.WARNING):
        downloaded = TimmFeatureExtractor("test_vit", ["blocks.2"], image_size=(96, 128))
    assert caplog.messages == ["test_vit: positions were resampled to 6x8 patches."]
    of_file = TimmFeatureExtractor("test_vit", ["blocks.2"], pre_trained=False, image_size=(96, 128))
    load_weights(of_file.network, tmp_path / "w.safetensors")
    for name, tensor in of_file.network.state_dict().items():
        assert torch.equal(downloaded.network.state_dict()[name], tensor), name


@pytest.mark.parametrize("prefix", ["", "model.", "module.backbone."])
def test_a_transformers_file_matches_under_any_prefix(prefix: str, tmp_path: Path) -> None:
    given = whole_weights("test_vit", tmp_path / "w.safetensors")
    save_file({prefix + name: tensor for name, tensor in given.items()}, tmp_path / "p.safetensors")
    extractor = TimmFeatureExtractor("test_vit", ["blocks.2"], pre_trained=False)
    load_weights(extractor.network, tmp_path / "p.safetensors")
    for name, tensor in extractor.network.state_dict().items():
        assert torch.equal(tensor, given[name.removeprefix("model.")]), name


def test_positions_of_no_grid_are_refused_in_words(tmp_path: Path) -> None:
    given = whole_weights("test_vit", tmp_path / "w.safetensors")
    given["pos_embed"] = given["pos_embed"][:, :-1].contiguous()
    save_file(given, tmp_path / "w.safetensors")
    extractor = TimmFeatureExtractor("test_vit", ["blocks.2"], pre_trained=False, image_size=(96, 128))
    with pytest.raises(ConfigError, match=r"pos_embed has shape \(1, 100, 64\), the backbone needs \(1, 49, 64\)"):
        load_weights(extractor.network, tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("size", "choose"),
    [((256, 256), "252x252 or 266x266"), ((224, 230), "224x224 or 224x238"), ((8, 28), "14x28.")],
)
def test_a_size_of_broken_patches_names_the_nearest(size: tuple[int, int], choose: str) -> None:
    with pytest.raises(ConfigError, match=rf"multiples of 14 pixels, which .* are not; choose {choose}"):
        PatchcoreModel(["blocks.3"], DINO, pre_trained=False, image_size=size)


@pytest.mark.parametrize(
    ("backbone", "layer", "size"),
    [
        ("mixer_s32_224", "blocks.0", (256, 256)),  # mixes patches by weights of its own
        ("convit_tiny", "blocks.0", (224, 256)),  # squares only
        ("crossvit_tiny_240", "blocks.0", (224, 224)),
        ("pit_ti_224", "transformers.0", (256, 256)),
    ],
)
def test_a_network_that_cannot_follow_is_refused_before_any_work(
    backbone: str, layer: str, size: tuple[int, int]
) -> None:
    spec = Patchcore.configure_pre_processor(size)
    with pytest.raises(ConfigError, match=r"does not take images of .* pixels; choose (224x224|240x240), the size it"):
        Patchcore(backbone, [layer], pre_trained=False, pre_processor=spec)


def test_dinov2_from_a_file_of_its_own_size_by_the_command_line(tmp_path: Path, tiny_data: Path) -> None:
    weights = transformer_weights(DINO, tmp_path / "dino.safetensors")
    words = ["train", tiny_data, "--backbone", DINO, "--weights", weights, "--image-size", "56x84"]
    done = run_cli(*words, "-o", tmp_path / "run", "--layers", "blocks.1,blocks.3")
    assert done.returncode == 0, done.stderr
    assert "288 patches kept" in done.stdout or "of 288 patches" in done.stdout
    wrong = run_cli(*words, "-o", tmp_path / "other", "--layers", "layer2,layer3")
    assert wrong.returncode == 2
    assert "no layer 'layer2'; its layers are blocks.0, blocks.1" in wrong.stderr
