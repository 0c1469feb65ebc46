#!/usr/bin/env python3
"""gen_torch.py -- small files as PyTorch writes them, and what must be read from them.

Usage: gen_torch.py [--out DIR]        (needs torch, numpy and gen_golden.py beside it)

    torch/y5.pt, torch/paper.pt    whole pickled networks, as training saves them: a dict with `model`, an averaged `ema` in
                                   half precision, a fitness made by numpy, an optimizer's momentum and a date
    torch/state.pt                 a state dict with every element type, shared storages and unusual strides
    torch/NAME.safetensors         the state dict that must come out; for networks also an input x and its output pred

The classes are those of gen_golden.py under the module names that published trees give them.
"""
import argparse
import json
import os
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

import gen_golden as g

ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119]]
STRIDES = [8, 16]
NC = 2


class Model(nn.Module):
    def __init__(self, fl):
        super().__init__()
        self.model = nn.Sequential(
            g.Conv(fl, 3, 8, 3, 2), g.Conv(fl, 8, 8, 3, 2), g.Conv(fl, 8, 8, 3, 2), g.VoVGSCSP(fl, 8, 8, 2),
            g.GSConv(fl, 8, 16, 3, 2), g.Detect(NC, ANCHORS, [8, 16], STRIDES))

    def forward(self, x):
        for layer in self.model[:4]:
            x = layer(x)
        return self.model[5]([x, self.model[4](x)])


def publish():
    """Gives the classes the names under which published trees pickle them."""
    for module, classes in {"models.common": (g.Conv, g.DWConv, g.GSConv, g.GSBottleneck, g.VoVGSCSP),
                            "models.yolo": (Model, g.Detect)}.items():
        home = types.ModuleType(module)
        for cls in classes:
            cls.__module__ = module
            setattr(home, cls.__name__, cls)
        sys.modules[module] = home
    sys.modules["models"] = types.ModuleType("models")


def as_published(net):
    """What a published network has as attributes, and not what only gen_golden's has."""
    for module in net.modules():
        if isinstance(module, g.GSConv):
            del module.mix
    net.names = {0: "cat", 1: "d\u00f6g"}
    net.stride = torch.tensor(STRIDES, dtype=torch.float32)
    net.yaml = {"nc": NC, "depth_multiple": 1.0, "width_multiple": 1.0, "anchors": ANCHORS, "ch": 3,
                "backbone": [[-1, 1, "Conv", [8, 3, 2]]] * 3 + [[-1, 2, "VoVGSCSP", [8, False]],
                                                               [-1, 1, "GSConv", [16, 3, 2]]],
                "head": [[[3, 4], 1, "Detect", ["nc", "anchors"]]]}
    net.yaml_file = "small.yaml"
    return net


def network(fl, salt):
    net = Model(fl)
    g.det_fill(net, salt)
    return net.eval()


def emit_network(out, name, fl):
    x = g.det_uniform("x:" + name, (1, 3, 64, 96), 0, 1)
    ema = network(fl, 3).half().float()  # what half precision keeps of it
    pred = ema(x)[0].detach()
    checkpoint = {"epoch": 3, "best_fitness": np.array([0.25]), "model": as_published(network(fl, 1)),
                  "ema": as_published(ema).half(), "updates": 17,
                  "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}},
                                "param_groups": [{"lr": np.float64(0.01), "nesterov": True, "params": [0]}]},
                  "opt": {"weights": "", "imgsz": 640, "freeze": [0]}, "date": "2024-01-01T00:00:00"}
    torch.save(checkpoint, f"{out}/torch/{name}.pt")
    expected = {k: v for k, v in ema.state_dict().items()}
    save(f"{out}/torch/{name}.safetensors", {**expected, "x": x, "pred": pred})


def emit_state(out):
    base = torch.arange(24, dtype=torch.float32)
    state = OrderedDict(
        whole=base.view(2, 3, 4), part=base[4:10], turned=base.view(4, 6).t(), every_second=base[1::2],
        repeated=torch.tensor([1.0, 2.0]).view(2, 1).expand(2, 3), last=base.view(2, 3, 4).permute(2, 0, 1), scalar=torch.tensor(7.5), none=torch.zeros(0, 3),
        f64=torch.tensor([0.1, -2.0], dtype=torch.float64), f16=torch.tensor([0.5, 65504.0], dtype=torch.float16),
        bf16=torch.tensor([1.0, -3.5], dtype=torch.bfloat16), i64=torch.tensor([1 << 40, -1]),
        i32=torch.tensor([-7], dtype=torch.int32), u8=torch.tensor([255, 0], dtype=torch.uint8),
        flag=torch.tensor([True, False]))
    torch.save(state, f"{out}/torch/state.pt")
    save(f"{out}/torch/state.safetensors", state)


def save(path, tensors):
    """As safetensors; bfloat16 and float16 become float32, which holds them exactly. (gen_golden's writer makes a list of
    one number out of a scalar.)"""
    kinds = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8",
             torch.bool: "BOOL"}
    header, blobs, at = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        wide = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
        blobs.append(wide.contiguous().numpy().tobytes())
        header[name] = {"dtype": kinds[wide.dtype], "shape": list(wide.shape),
                        "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    out = parser.parse_args().out
    os.makedirs(f"{out}/torch", exist_ok=True)
    publish()
    emit_network(out, "y5", g.SEED)
    emit_network(out, "paper", g.PAPER)
    emit_state(out)


if __name__ == "__main__":
    main()
