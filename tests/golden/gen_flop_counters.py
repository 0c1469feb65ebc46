#!/usr/bin/env python3
"""What programs that count FLOPs say about three networks: flop_counters.json.

The networks are those of gen_golden.py, at 64 x 64 pixels, in evaluation, with raw heads; "folded" has every batch norm
folded into its convolution, which then has a bias. Needs torch and, from PyPI: fvcore thop ptflops torchinfo, and
ultralytics-thop in a folder of its own (it is a module `thop` too), which is the argument.
"""
import contextlib
import importlib.metadata as metadata
import io
import json
import os
import sys

import torch
from torch import nn

import gen_golden as golden


class Raw(nn.Module):
    """A network that returns its raw heads, with the upsampling that hooks can see."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        for i, layer in enumerate(net.model):
            if isinstance(layer, golden.Upsample2):
                net.model[i] = nn.Upsample(scale_factor=2, mode="nearest")
        net.eval()
        net.detect.train()

    def forward(self, x):
        return self.net(x)


def folded(net):
    for module in net.modules():
        if isinstance(module, golden.Conv):
            module.conv.bias = nn.Parameter(torch.zeros(module.conv.out_channels))
            module.bn = nn.Identity()
    return net


def quiet(count):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return int(count())


def with_thop(net, x, folder=None):
    for name in [n for n in sys.modules if n.split(".")[0] == "thop"]:
        del sys.modules[name]
    if folder:
        sys.path.insert(0, folder)
    import thop
    if folder:
        sys.path.remove(folder)
    return quiet(lambda: thop.profile(net, (x,), verbose=False)[0])


def with_fvcore(net, x):
    from fvcore.nn import FlopCountAnalysis
    return quiet(lambda: FlopCountAnalysis(net, x).unsupported_ops_warnings(False).total())


def with_ptflops(net, x):
    import ptflops
    return quiet(lambda: ptflops.get_model_complexity_info(net, tuple(x.shape[1:]), as_strings=False, backend="pytorch",
                                                           print_per_layer_stat=False)[0])


def with_torch(net, x):
    from torch.utils.flop_counter import FlopCounterMode
    with FlopCounterMode(display=False) as counter:
        net(x)
    return counter.get_total_flops()


def with_torchinfo(net, x):
    import torchinfo
    return quiet(lambda: torchinfo.summary(net, input_data=x, verbose=0).total_mult_adds)


def main():
    folder = sys.argv[1]
    ultralytics = next(d.version for d in metadata.distributions(path=[folder]) if d.name == "ultralytics-thop")
    programs = [
        ("thop", metadata.version("thop"), with_thop),
        ("ultralytics-thop", ultralytics, lambda net, x: with_thop(net, x, folder)),
        ("fvcore", metadata.version("fvcore"), with_fvcore),
        ("ptflops", metadata.version("ptflops"), with_ptflops),
        ("FlopCounterMode", "torch " + torch.__version__.split("+")[0], with_torch),
        ("torchinfo", metadata.version("torchinfo"), with_torchinfo),
    ]
    rows = []
    for name, neck in (("yolov5n", "c3"), ("slimneck-n", "slim"), ("slimneck-c-n", "slimc")):
        for fold in (False, True):
            for program, version, count in programs:
                net = Raw(golden.Net("n", neck, 80, golden.SEED))
                if fold:
                    folded(net)
                rows.append({"model": name, "folded": fold, "program": program, "version": version,
                             "count": count(net, torch.zeros(1, 3, 64, 64))})
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "flop_counters.json"), "w") as out:
        out.write(text)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
