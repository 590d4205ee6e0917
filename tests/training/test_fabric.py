"""Two processes do what one does; mixed precision trains; what cannot be had is said."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.testing import assert_close

from labelwright.errors import ResourceError
from labelwright.training import Fit

pytest.importorskip("lightning.fabric")

SCRIPT = '''
"""One epoch of an ELR-like run; every process writes what it holds."""
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from labelwright.nn import ConvNet, seeded
from labelwright.training import ExampleTable, Fit, Step, TensorData, train
from labelwright.training.engine import is_first

def experiment(devices, seed_of_weights=0):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(50) % 3
    data = TensorData.of(torch.randn(50, 1, 8, 8, generator=generator) + labels[:, None, None, None], labels)
    table = ExampleTable(50, 3)
    with seeded(seed_of_weights):
        net = ConvNet(depth=2, width=8, norm="group")(3, (1, 8, 8))
    net.register_parameter("idle", torch.nn.Parameter(torch.ones(2)))  # never has a gradient

    def step(net, batch):
        logits = net(batch.inputs)
        table.write(batch.index, 0.7 * table.read(batch.index) + 0.3 * logits.softmax(1))
        agree = (table.read(batch.index) * logits.softmax(1)).sum(1)
        return Step((F.cross_entropy(logits, batch.labels, reduction="none") + torch.log1p(-agree)).mean(), {"agree": agree.mean().detach()})

    fit = Fit(epochs=1, batch_size=16, lr=0.1, weight_decay=1e-3, augment="crop-flip", devices=devices, device="cpu", keep="last")
    run = train(net, step, data, fit=fit, seed=0, val=data, memory=table)
    return run, {**run.net.state_dict(), "table": table.values}

if __name__ == "__main__":
    torch.set_num_threads(1)
    import os
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    run, tensors = experiment(2, seed_of_weights=rank)  # the first process's weights are the ones that count
    assert is_first() == (rank == 0)
    row = torch.tensor([run.history[0][k] for k in ("loss", "agree", "val_accuracy")])
    save_file({**tensors, "row": row}, f"{sys.argv[1]}/rank{rank}.safetensors")
'''


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    script = tmp_path / "twice.py"
    script.write_text(SCRIPT)
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_PORT")}
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    space: dict = {"__name__": "twice"}
    exec(compile(SCRIPT, "twice.py", "exec"), space)
    run, expected = space["experiment"](1)
    first, second = (load_file(tmp_path / f"rank{r}.safetensors") for r in range(2))
    for name, value in expected.items():
        assert_close(first[name], value, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
        assert torch.equal(first[name], second[name]), name
    assert expected["idle"].tolist() == [1.0, 1.0]
    assert (expected["table"].sum(1) > 0.29).all()  # every row was visited once
    row = torch.tensor([run.history[0][k] for k in ("loss", "agree", "val_accuracy")])
    assert_close(first["row"], row, atol=1e-5, rtol=1e-5)


def test_bfloat16_trains_and_resumes(tmp_path):
    from labelwright.nn import MLP, seeded
    from labelwright.training import Step, TensorData, train

    labels = torch.arange(60) % 3
    data = TensorData.of(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) + 2.0 * F.one_hot(labels, 5), labels)
    kinds = set()

    def step(net, batch):
        logits = net(batch.inputs)
        kinds.add(logits.dtype)
        return Step(F.cross_entropy(logits.float(), batch.labels))

    def fresh():
        with seeded(0):
            return MLP(hidden=(16,))(3, (5,))

    threads = torch.get_num_threads()
    fit = Fit(epochs=6, batch_size=16, lr=0.1, precision="bf16-mixed", device="cpu", clip=5.0)
    run = train(fresh(), step, data, fit=fit, seed=0)
    assert kinds == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in run.net.parameters())
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]
    exact = train(
        fresh(), lambda n, b: Step(F.cross_entropy(n(b.inputs), b.labels)), data, fit=dataclasses.replace(fit, precision="32"), seed=0
    )
    assert run.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.05)
    again = train(fresh(), step, data, fit=dataclasses.replace(fit, checkpoint=str(tmp_path)), seed=0)
    finished = train(fresh(), step, data, fit=dataclasses.replace(fit, checkpoint=str(tmp_path)), seed=0)
    assert again == finished == run
    assert torch.get_num_threads() == threads


def test_what_cannot_be_had_is_a_resource_error():
    from labelwright.training.engine import engine_for

    with pytest.raises(ResourceError, match="needs a GPU"):
        engine_for(Fit(device="cpu", precision="16-mixed"))
    if torch.cuda.device_count() < 2:
        from labelwright.training.fabric import FabricEngine

        with pytest.raises(ResourceError, match="2 GPUs were asked for"):
            FabricEngine(torch.device("cuda"), devices=2, precision="32")


def test_plain_training_does_not_import_lightning():
    code = "import sys, labelwright.training as t; from labelwright.training.engine import engine_for; engine_for(t.Fit(device='cpu')); print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
