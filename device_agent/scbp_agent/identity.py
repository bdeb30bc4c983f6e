"""Which board this is: what the device tree, the distribution and the CPU say, and what follows from it."""

import glob
import os
import platform
import re
import sys
from typing import Dict, List, Optional

from scbp_agent.probing import Source

# L4T -> JetPack, the first that fits. [OE4T/meta-tegra recipes]
_JETPACKS = (
    ("32.6", "4.6"),
    ("32.7", "4.6.1 to 4.6.6"),
    ("35.", "5.1"),
    ("36.3", "6.0"),
    ("36.", "6.1 to 6.2"),
    ("38.", "7.0 to 7.1"),
    ("39.", "7.2"),
)
# What the GPU calculates in, by the device tree's name of the chip: Nano, TX2, Xavier, Orin, Thor.
_GPU_PRECISIONS = {
    "nvidia,tegra210": ["fp32", "fp16"],
    "nvidia,tegra186": ["fp32", "fp16"],
    "nvidia,tegra194": ["fp32", "fp16", "int8"],
    "nvidia,tegra234": ["fp32", "fp16", "int8"],
    "nvidia,tegra264": ["fp32", "fp16", "int8", "fp8"],
}
# Half precision that is calculated with, not only stored, as /proc/cpuinfo names it on Arm and x86.
_HALF = {"asimdhp", "avx512_fp16"}
_LIBRARIES = ("numpy", "onnxruntime", "tensorrt", "pycuda", "cuda-python", "ncnn")


def board(source: Source) -> str:
    """Return the device tree's model, else the CPU's name and architecture."""
    model = source.text("/proc/device-tree/model")
    if model:
        return model
    names = re.findall(r"^(?:model name|Hardware)\s*:\s*(.+)$", source.text("/proc/cpuinfo"), re.M)
    return "%s (%s)" % (names[0].strip(), platform.machine()) if names else platform.machine()


def compatible(source: Source) -> List[str]:
    """Return the device tree's ``compatible`` strings, most specific first; empty where there is no device tree."""
    return [name for name in source.text("/proc/device-tree/compatible").split("\0") if name]


def l4t(source: Source) -> Optional[str]:
    """Return the release of NVIDIA's Linux, such as 32.7.1; None but on a Jetson."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", source.text("/etc/nv_tegra_release"))
    return "%s.%s" % found.groups() if found else None


def jetpack(source: Source) -> Optional[str]:
    """Return the JetPack that the L4T release belongs to."""
    release = l4t(source) or ""
    return next((name for prefix, name in _JETPACKS if release.startswith(prefix)), None)


def os_release(source: Source) -> str:
    """Return the distribution's name, with the L4T release on a Jetson."""
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]*)', source.text("/etc/os-release"), re.M)
    name, release = pretty.group(1) if pretty else platform.system(), l4t(source)
    return "%s, L4T %s" % (name, release) if release else name


def emulator(source: Source) -> Optional[str]:
    """Return what this board is emulated by; None where it is as real as it looks.

    qemu's user mode gives programs another processor than the kernel's, which tells its own name from Linux 6.1 on. Our
    test's board says so in a file of its own.
    """
    marked = re.search(r"^kind=(.+)$", source.text("/etc/virtual-device"), re.M)
    if marked:
        return marked.group(1)
    kernel, ours = source.text("/proc/sys/kernel/arch"), platform.machine()
    return "user mode on %s" % kernel if kernel and _family(kernel) != _family(ours) else None


def _family(machine: str) -> str:
    # A kernel of 64 bits runs programs of 32 by itself.
    return "arm" if machine.startswith(("arm", "aarch")) else "x86" if re.match(r"x86|i\d86", machine) else machine


def precisions(source: Source) -> Dict[str, Optional[List[str]]]:
    """Return what ``cpu`` and ``gpu`` have instructions for; None for a GPU that this agent does not know."""
    words = set(re.findall(r"\w+", source.text("/proc/cpuinfo")))
    chips = [_GPU_PRECISIONS[name] for name in compatible(source) if name in _GPU_PRECISIONS]
    return {"cpu": ["fp32", "int8"] + (["fp16"] if words & _HALF else []), "gpu": chips[0] if chips else None}


def libraries() -> Dict[str, str]:
    """Return the version of each library that this Python has installed; nothing is imported, so nothing can crash."""
    found: Dict[str, str] = {}
    for name in _LIBRARIES:
        for folder in sys.path:
            stem = os.path.join(glob.escape(folder), name.replace("-", "_") + "-*.")
            for path in glob.glob(stem + "dist-info") + glob.glob(stem + "egg-info"):
                found.setdefault(name, os.path.basename(path).split("-")[1].rpartition(".")[0])
    return found
