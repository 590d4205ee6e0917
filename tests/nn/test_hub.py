"""Hugging Face networks: tiny random ones, saved by the test itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from labelwright.errors import InputError, MissingExtra
from labelwright.nn import HuggingFace, factory_from, net_named, seeded, spec_of, split_head
from labelwright.training import Fit, Step, TensorData, train

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=7)
    with seeded(0):
        model = transformers.ResNetForImageClassification(config)
    model.save_pretrained(folder)
    return folder, model.eval()


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_labels=3, pad_token_id=0
    )
    with seeded(0):
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_pretrained_weights_are_kept_and_the_head_is_fresh(resnet):
    folder, model = resnet
    factory = net_named("huggingface", model=str(folder))
    with seeded(1):
        net = factory(3, (3, 32, 32)).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert net(x).shape == (2, 3)
    body, head = split_head(net)
    expected = model.resnet(x).pooler_output.flatten(1)
    assert_close(body(x), expected)
    assert head.weight.shape == (3, 16)
    same = HuggingFace(model=str(folder))(7, (3, 32, 32)).eval()
    assert_close(same(x), model(x).logits)
    fresh = HuggingFace(model=str(folder), pretrained=False)(7, (3, 32, 32)).eval()
    assert (fresh(x) - model(x).logits).abs().max() > 1e-3
    assert factory_from(spec_of(factory)) == factory


def test_grey_images_are_repeated(resnet):
    folder, model = resnet
    net = HuggingFace(model=str(folder))(7, (1, 32, 32)).eval()
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert_close(net(x), model(x.expand(-1, 3, -1, -1)).logits)
    with pytest.raises(InputError, match="3 channels; the inputs have 2"):
        HuggingFace(model=str(folder))(7, (2, 32, 32))


def test_it_trains_in_the_loop(resnet):
    labels = torch.arange(24) % 2
    x = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 2.0 * labels[:, None, None, None]
    with seeded(0):
        net = HuggingFace(model=str(resnet[0]))(2, (3, 16, 16))
    fit = Fit(epochs=4, batch_size=8, lr=0.05, device="cpu")
    run = train(net, lambda n, b: Step(F.cross_entropy(n(b.inputs), b.labels)), TensorData.of(x, labels), fit=fit, seed=0)
    assert run.history[-1]["loss"] < 0.4 < 0.5 < run.history[0]["loss"]  # chance is 0.69


def test_text_masks_padding(bert):
    net = HuggingFace(model=str(bert))(3, (6,)).eval()
    ids = torch.tensor([[5, 9, 3, 0, 0, 0]])
    assert_close(net(ids), net(ids[:, :3]), atol=1e-5, rtol=0)
    assert_close(net(ids.float()), net(ids))
    assert net(ids).shape == (1, 3)


def test_what_cannot_be_used_is_said(tmp_path, monkeypatch, resnet):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="cannot be used"):
        HuggingFace(model=str(tmp_path))(3, (3, 32, 32))
    with pytest.raises(InputError, match=r"\(C, H, W\) or token ids"):
        HuggingFace(model=str(resnet[0]))(3, (4, 4))
    with pytest.raises(InputError, match="must name"):
        HuggingFace(model="")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"labelwright\[hf\]"):
        HuggingFace(model=str(resnet[0]))(3, (3, 32, 32))
