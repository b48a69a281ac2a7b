"""NVIDIA's common cards for servers and workstations, by PCI device id.

Names: pci.ids (https://pci-ids.ucw.cz). Capabilities: https://developer.nvidia.com/cuda-gpus. Memory, in MiB: the total
that `nvidia-smi` prints with a driver from 510 on, where error correction is on by default with it on; seen in public
logs, and for older cards the vendor's figure. A card that is not here can be declared all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of each card's memory the driver keeps some for itself (H200: 615 MiB of 143771, T4: 450 MiB of 15360).
_DRIVER_KEEPS = 640  # MiB


@dataclass(frozen=True)
class GpuModel:
    """A model of card. `total`: MiB."""

    name: str
    total: int
    capability: str

    @property
    def memory(self) -> int:
        """Bytes that programs may have, in whole GiB."""
        return (self.total - _DRIVER_KEEPS) // 1024 * 2**30


MODELS: dict[int, GpuModel] = {
    0x102D: GpuModel("Tesla K80", 11441, "3.7"),
    0x13F2: GpuModel("Tesla M60", 7680, "5.2"),
    0x17FD: GpuModel("Tesla M40", 11448, "5.2"),
    0x15F7: GpuModel("Tesla P100 PCIe 12GB", 12288, "6.0"),
    0x15F8: GpuModel("Tesla P100 PCIe 16GB", 16384, "6.0"),
    0x15F9: GpuModel("Tesla P100 SXM2 16GB", 16384, "6.0"),
    0x1B00: GpuModel("TITAN X (Pascal)", 12288, "6.1"),
    0x1B02: GpuModel("TITAN Xp", 12288, "6.1"),
    0x1B06: GpuModel("GeForce GTX 1080 Ti", 11264, "6.1"),
    0x1B30: GpuModel("Quadro P6000", 24576, "6.1"),
    0x1B38: GpuModel("Tesla P40", 23040, "6.1"),
    0x1B80: GpuModel("GeForce GTX 1080", 8192, "6.1"),
    0x1BB0: GpuModel("Quadro P5000", 16384, "6.1"),
    0x1BB3: GpuModel("Tesla P4", 7680, "6.1"),
    0x1D81: GpuModel("TITAN V", 12288, "7.0"),
    0x1DB1: GpuModel("Tesla V100 SXM2 16GB", 16384, "7.0"),
    0x1DB4: GpuModel("Tesla V100 PCIe 16GB", 16384, "7.0"),
    0x1DB5: GpuModel("Tesla V100 SXM2 32GB", 32768, "7.0"),
    0x1DB6: GpuModel("Tesla V100 PCIe 32GB", 32768, "7.0"),
    0x1DB8: GpuModel("Tesla V100 SXM3 32GB", 32768, "7.0"),
    0x1DBA: GpuModel("Quadro GV100", 32768, "7.0"),
    0x1DF6: GpuModel("Tesla V100S PCIe 32GB", 32768, "7.0"),
    0x1E02: GpuModel("TITAN RTX", 24576, "7.5"),
    0x1E04: GpuModel("GeForce RTX 2080 Ti", 11264, "7.5"),
    0x1E07: GpuModel("GeForce RTX 2080 Ti", 11264, "7.5"),
    0x1E30: GpuModel("Quadro RTX 6000/8000", 23040, "7.5"),
    0x1E82: GpuModel("GeForce RTX 2080", 8192, "7.5"),
    0x1E87: GpuModel("GeForce RTX 2080", 8192, "7.5"),
    0x1EB0: GpuModel("Quadro RTX 5000", 15360, "7.5"),
    0x1EB1: GpuModel("Quadro RTX 4000", 8192, "7.5"),
    0x1EB8: GpuModel("Tesla T4", 15360, "7.5"),
    0x20B0: GpuModel("A100 SXM4 40GB", 40960, "8.0"),
    0x20B2: GpuModel("A100 SXM4 80GB", 81920, "8.0"),
    0x20B5: GpuModel("A100 PCIe 80GB", 81920, "8.0"),
    0x20B7: GpuModel("A30 PCIe", 24576, "8.0"),
    0x20F1: GpuModel("A100 PCIe 40GB", 40960, "8.0"),
    0x20F3: GpuModel("A800-SXM4-80GB", 81920, "8.0"),
    0x20F5: GpuModel("A800 80GB PCIe", 81920, "8.0"),
    0x2203: GpuModel("GeForce RTX 3090 Ti", 24564, "8.6"),
    0x2204: GpuModel("GeForce RTX 3090", 24576, "8.6"),
    0x2206: GpuModel("GeForce RTX 3080", 10240, "8.6"),
    0x2208: GpuModel("GeForce RTX 3080 Ti", 12288, "8.6"),
    0x220A: GpuModel("GeForce RTX 3080 12GB", 12288, "8.6"),
    0x2230: GpuModel("RTX A6000", 46068, "8.6"),
    0x2231: GpuModel("RTX A5000", 23028, "8.6"),
    0x2232: GpuModel("RTX A4500", 20470, "8.6"),
    0x2235: GpuModel("A40", 46068, "8.6"),
    0x2236: GpuModel("A10", 23028, "8.6"),
    0x2237: GpuModel("A10G", 23028, "8.6"),
    0x2484: GpuModel("GeForce RTX 3070", 8192, "8.6"),
    0x24B0: GpuModel("RTX A4000", 15352, "8.6"),
    0x2503: GpuModel("GeForce RTX 3060", 12288, "8.6"),
    0x2504: GpuModel("GeForce RTX 3060", 12288, "8.6"),
    0x25B6: GpuModel("A2 / A16", 15356, "8.6"),
    0x2684: GpuModel("GeForce RTX 4090", 24564, "8.9"),
    0x26B1: GpuModel("RTX 6000 Ada Generation", 46068, "8.9"),
    0x26B2: GpuModel("RTX 5000 Ada Generation", 30712, "8.9"),
    0x26B5: GpuModel("L40", 46068, "8.9"),
    0x26B9: GpuModel("L40S", 46068, "8.9"),
    0x2704: GpuModel("GeForce RTX 4080", 16376, "8.9"),
    0x27B0: GpuModel("RTX 4000 SFF Ada Generation", 19195, "8.9"),
    0x27B8: GpuModel("L4", 23034, "8.9"),
    0x2321: GpuModel("H100 NVL", 95830, "9.0"),
    0x2330: GpuModel("H100 SXM5 80GB", 81559, "9.0"),
    0x2331: GpuModel("H100 PCIe", 81559, "9.0"),
    0x2335: GpuModel("H200 SXM 141GB", 143771, "9.0"),
    0x233B: GpuModel("H200 NVL", 143771, "9.0"),
    0x2901: GpuModel("B200", 183359, "10.0"),
    0x2B85: GpuModel("GeForce RTX 5090", 32607, "12.0"),
    0x2BB1: GpuModel("RTX PRO 6000 Blackwell Workstation Edition", 97887, "12.0"),
    0x2BB5: GpuModel("RTX PRO 6000 Blackwell Server Edition", 97887, "12.0"),
}
