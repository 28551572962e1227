"""What this machine is: device, precision, memory allocator."""

from __future__ import annotations

import ctypes
import platform
import shutil
import sys
from functools import cache
from pathlib import Path

import torch

from betabloom.errors import UsageError

__all__ = ["choose_device", "choose_precision", "free_disk", "free_memory", "keep_memory", "precision_name"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" takes an accelerator if there is one, else the CPU."""
    if name == "auto":
        if torch.accelerator.is_available():
            return torch.device(torch.accelerator.current_accelerator() or "cpu")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0][:120]
        raise UsageError(
            f"Device {name!r} cannot be used here ({reason}). Leave it out, or type: --device cpu"
        ) from None
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type that networks compute in: bf16 where the processor has arithmetic for it, else fp32.

    Weights, optimiser, densities and everything that is reported stay in fp32.
    """
    if name == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if name not in types:
        raise UsageError(f"Unknown precision {name!r}. Choose one of: auto, {', '.join(types)}.")
    return types[name]


def precision_name(dtype: torch.dtype) -> str:
    """The name that settings have for a type, "bf16" or "fp32"."""
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool({"avx512_bf16", "amx_bf16", "bf16"} & _cpu_flags())


@cache
def _cpu_flags() -> set[str]:
    """Instruction sets that the Linux kernel names; elsewhere none, which means fp32."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {
        flag for line in text.splitlines() if line.lower().startswith(("flags", "features")) for flag in line.split()
    }


def keep_memory(below: int = 1 << 30) -> None:
    """Ask glibc to keep freed memory instead of handing it back to the system after every step.

    A training step allocates and frees the same large buffers again and again; by default each is mapped and unmapped,
    and the page faults cost up to half of the time of a step. Does nothing where the C library is another.

    Arguments:
        below: Bytes from which on memory is handed back all the same: what is kept is in pieces, of which not every one
            fits the next buffer.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    libc = ctypes.CDLL(None)
    for option, value in ((m_mmap_threshold, below), (m_trim_threshold, 2**31 - 1)):
        libc.mallopt(ctypes.c_int(option), ctypes.c_int(value))


def free_disk(path: Path) -> float | None:
    """Bytes free on the disk that `path`, an existing folder, lies on; None if the system does not tell."""
    try:
        return float(shutil.disk_usage(path).free)
    except OSError:
        return None


def free_memory(device: torch.device) -> tuple[float, float] | None:
    """Bytes free and in all where `device` computes; None if the system does not tell (Linux and CUDA do)."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + float(unused), float(torch.cuda.mem_get_info(device)[1])
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        free, total = (1024.0 * int(lines[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
    except (OSError, ValueError, KeyError):
        return None
    return min([(free, total), *_container_memory()])


def _container_memory() -> list[tuple[float, float]]:
    """The same of the container that this program runs in, if it has a limit of its own (Linux control groups 2)."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = float((group / "memory.max").read_text())
        used = float((group / "memory.current").read_text())
        pages = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return [(limit - used + float(pages["inactive_file"]), limit)]
    except (OSError, ValueError, KeyError):
        return []
