"""DINOv2 beside two independent implementations: one in float64 here, and that of the transformers package."""

import math

import numpy as np
import pytest
import torch
from dinov2_references import CASES, FILE, SIZES, kept, model_and_image
from scipy import special

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.nets import vit
from S3NetSegmentLib.engine.nets.dinov2 import ARCHITECTURES, Architecture, Dinov2Encoder, encode_slices, recognise

TINY = {
    "plain": Architecture(48, 2, 3, 96),
    "registers": Architecture(48, 2, 3, 96, registers=4),
    "gated": Architecture(48, 2, 3, 64, gated=True),
    "gated, registers": Architecture(48, 2, 3, 64, gated=True, registers=4),
}


def random_model(architecture, seed=0, levels=(-1,), spread=0.15):
    """Weights large enough for every part to show in the tokens, norms and scales away from 1."""
    model = architecture.build(levels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_scale = name.endswith("gamma") or ("norm" in name and name.endswith("weight"))
            parameter.normal_(0.7 if is_scale else 0.0, spread, generator=generator)
        model.pos_embed.mul_(3)
    return model.eval()


def random_image(size, seed=1, count=1):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


# ---- the reference in float64 ----


def cubic(x):
    """Keys' cubic kernel with a = -0.75 (what torch uses without antialiasing) and -0.5 (with)."""

    def kernel(a):
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = a * (((x - 5) * x + 8) * x - 4)
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return kernel


def resize_matrix(count, scale, antialias, source=37):
    """Rows of weights that make ``count`` samples of a line of ``source`` samples; ``scale`` is source per result."""
    matrix = np.zeros((count, source))
    support = max(scale, 1.0) if antialias else 1.0
    for i in range(count):
        centre = (i + 0.5) * scale - 0.5
        if antialias:
            taps = np.arange(source)  # weights beyond the border are dropped and the rest normalised
            weights = cubic(np.abs(taps - centre) / support)(-0.5)
            matrix[i] = weights / weights.sum()
        else:
            for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):  # the border value goes on beyond it
                matrix[i, min(max(tap, 0), source - 1)] += cubic(np.abs(np.float64(tap - centre)))(-0.75)
    return matrix


def reference_positions(table, rows, columns, registers):
    """Position embeddings ``[1 + rows * columns, width]`` by the published rule."""
    if rows == columns == 37:
        return table
    grid = table[1:].reshape(37, 37, -1)
    scales = [37 / n if registers else 37 / (n + 0.1) for n in (rows, columns)]
    down, along = (resize_matrix(n, s, bool(registers)) for n, s in zip((rows, columns), scales, strict=True))
    return np.concatenate((table[:1], np.einsum("ri,cj,ijd->rcd", down, along, grid).reshape(rows * columns, -1)))


def reference_tokens(state, image, architecture):
    """All tokens after the final norm, float64 ``[tokens, width]``, of one image ``[3, H, W]``."""
    w = {name: tensor.double().numpy() for name, tensor in state.items()}
    width, heads = architecture.width, architecture.heads
    rows, columns = image.shape[1] // 14, image.shape[2] // 14

    def norm(x, name):
        x = x - x.mean(1, keepdims=True)
        return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    patches = (
        image.double().numpy().reshape(3, rows, 14, columns, 14).transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1)
    )
    x = patches @ w["patch_embed.proj.weight"].reshape(width, -1).T + w["patch_embed.proj.bias"]
    x = np.concatenate((w["cls_token"][0], x))
    x = x + reference_positions(w["pos_embed"][0], rows, columns, architecture.registers)
    if architecture.registers:
        x = np.concatenate((x[:1], w["register_tokens"][0], x[1:]))
    for i in range(architecture.depth):
        at = f"blocks.{i}"
        mixed = []
        for part in (
            linear(norm(x, f"{at}.norm1"), f"{at}.attn.qkv").reshape(len(x), 3, heads, -1).transpose(2, 1, 0, 3)
        ):
            query, key, value = part
            mixed.append(special.softmax(query @ key.T / math.sqrt(width / heads), 1) @ value)
        x = x + w[f"{at}.ls1.gamma"] * linear(np.concatenate(mixed, 1), f"{at}.attn.proj")
        y = norm(x, f"{at}.norm2")
        if architecture.gated:
            gate, value = np.split(linear(y, f"{at}.mlp.w12"), 2, 1)
            y = linear(gate * special.expit(gate) * value, f"{at}.mlp.w3")
        else:
            y = linear(y, f"{at}.mlp.fc1")
            y = linear(y * special.ndtr(y), f"{at}.mlp.fc2")
        x = x + w[f"{at}.ls2.gamma"] * y
    return norm(x, "norm")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_tokens_equal_those_of_a_float64_reference(kind, size):
    architecture = TINY[kind]
    model, image = random_model(architecture), random_image(size)
    with torch.no_grad():
        (tokens,) = model.tokens(image)
    expected = reference_tokens(model.state_dict(), image[0], architecture)
    assert np.abs(tokens[0].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("size", [(224, 224), (448, 336)], ids=str)
def test_the_reference_would_notice_another_rule_for_position_embeddings(size):
    table = random_model(TINY["plain"]).pos_embed[0].detach().double().numpy()
    rows, columns = size[0] // 14, size[1] // 14
    plain, registers = (reference_positions(table, rows, columns, n) for n in (0, 4))
    assert np.abs(plain - registers).max() > 1e-2


# ---- the implementation of transformers ----


@pytest.mark.parametrize(("kind", "size"), CASES, ids=str)
def test_tokens_equal_those_of_transformers(kind, size, monkeypatch):
    # Where there are no registers, transformers resizes the position embeddings by size, unlike the published code; the
    # published rule is compared with the float64 reference above.
    monkeypatch.setattr(vit, "SCALE_OFFSET", 0.0)
    model, image = model_and_image(kind, size)
    with torch.no_grad():
        (tokens,) = model.tokens(image)
    expected = np.load(FILE)[f"{kind} {size}"]
    assert np.abs(kept(tokens) - expected).max() < 1e-5


# ---- as an encoder ----


def test_maps_are_the_patch_tokens_of_the_chosen_blocks_row_by_row():
    model, image = random_model(TINY["registers"], levels=(0, -1)), random_image((42, 70), count=2)
    with torch.no_grad():
        first, last = model(image)
        tokens = model.tokens(image)[1]
    assert first.shape == last.shape == (2, 48, 3, 5)
    assert model.channels == (48, 48) and model.strides == (14, 14)
    assert torch.equal(last[1, :, 2, 4], tokens[1, -1]) and torch.equal(last[0, :, 0, 0], tokens[0, 5])
    assert not torch.allclose(first, last)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_of_the_published_models_are_counted_right(name):
    published = {
        "dinov2-vits14": (22_056_576, 175), "dinov2-vits14-reg4": (22_058_112, 176),
        "dinov2-vitb14": (86_580_480, 175), "dinov2-vitb14-reg4": (86_583_552, 176),
        "dinov2-vitl14": (304_368_640, 343), "dinov2-vitl14-reg4": (304_372_736, 344),
        "dinov2-vitg14": (1_136_480_768, 567), "dinov2-vitg14-reg4": (1_136_486_912, 568),
        # with an offset of 0 for the keys, which the published ones do not have
        "dinov3-vits16": (21_601_152, 175), "dinov3-vitb16": (85_669_632, 175), "dinov3-vitl16": (303_154_176, 343),
    }  # fmt: skip
    shapes = ARCHITECTURES[name].shapes()
    assert (sum(math.prod(shape) for shape in shapes.values()), len(shapes)) == published[name]


def test_a_checkpoint_is_recognised_by_all_of_its_tensors():
    shapes = ARCHITECTURES["dinov2-vits14-reg4"].shapes()
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert recognise(tensors) == "dinov2-vits14-reg4"
    with pytest.raises(InputError, match=r"1 missing \(blocks.3.ls1.gamma\)"):
        recognise({name: t for name, t in tensors.items() if name != "blocks.3.ls1.gamma"})
    with pytest.raises(InputError, match=r"1 unknown \(head.weight\)"):
        recognise(tensors | {"head.weight": torch.empty(3)})
    with pytest.raises(InputError, match=r"norm.bias: \[385\], not \[384\]"):
        recognise(tensors | {"norm.bias": torch.empty(385)})
    with pytest.raises(InputError, match="not those of a DINOv2 backbone"):
        recognise({"weight": torch.empty(1000, 384), "bias": torch.empty(1000)})


@pytest.fixture(scope="module")
def small():
    """ViT-S with registers and random weights, as a checkpoint."""
    model = ARCHITECTURES["dinov2-vits14-reg4"].build().initialize(torch.Generator().manual_seed(5))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_an_encoder_takes_grey_images_of_any_size_and_normalises_them(small):
    encoder = Dinov2Encoder.from_tensors(small)
    image = torch.rand(2, 1, 30, 45, generator=torch.Generator().manual_seed(0))
    (features,) = encoder(image)
    assert features.shape == (2, 384, 3, 4) and not features.requires_grad
    resized = torch.nn.functional.interpolate(image, (42, 56), mode="bilinear", align_corners=False)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    (expected,) = encoder.transformer((resized.expand(-1, 3, -1, -1) - mean) / deviation)
    assert torch.allclose(features, expected, atol=1e-6)
    (raw,) = Dinov2Encoder.from_tensors(small, input_scale="zscore")(image)
    assert torch.allclose(raw, encoder.transformer(resized.expand(-1, 3, -1, -1))[0], atol=1e-6)


def test_bfloat16_gives_nearly_the_same_features_in_half_the_memory(small):
    image = torch.rand(1, 1, 56, 56, generator=torch.Generator().manual_seed(0))
    full = Dinov2Encoder.from_tensors(small)
    half = Dinov2Encoder.from_tensors(small, precision="bfloat16")
    a, b = full(image)[0], half(image)[0]
    assert b.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(a, b, 1).min() > 0.999
    size = [sum(p.numel() * p.element_size() for p in e.parameters()) for e in (full, half)]
    assert size[1] < 0.55 * size[0]


def test_weights_that_are_not_finite_are_refused(small):
    broken = dict(small) | {"norm.bias": torch.full((384,), math.nan)}
    with pytest.raises(InputError, match=r"'norm.bias'.*not all finite"):
        Dinov2Encoder.from_tensors(broken)


def test_slices_are_encoded_in_batches_with_the_same_result(small):
    encoder = Dinov2Encoder.from_tensors(small)
    slices = torch.rand(3, 1, 40, 60, generator=torch.Generator().manual_seed(0))
    steps = []
    one = run_to_end(encode_slices(encoder, slices, side=84, grid=8), steps.append)
    two = run_to_end(encode_slices(encoder, slices, side=84, grid=8, batch=2))
    assert one.shape == (3, 384, 5, 8) and one.dtype == torch.float16
    assert (one.float() - two.float()).abs().max() < 4e-3  # float16 keeps three digits
    assert [round(step.fraction, 2) for step in steps] == [0.33, 0.67, 1.0]


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (torch.zeros(1, 3, 30, 42), r"multiples of 14 pixels; got 30 x 42.*28 x 42"),
        (torch.zeros(1, 1, 28, 28), r"\[N, 3, H, W\]"),
        (torch.zeros(3, 28, 28), r"\[N, 3, H, W\]"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_what_would(image, told):
    with pytest.raises(InputError, match=told):
        TINY["plain"].build()(image)


def test_levels_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="from 0 to 1"):
        TINY["plain"].build(levels=(2,))
