"""What GPUs can compute at most, by their makers' data sheets: dense operations a second, without sparsity."""

import re

# Names' words; TFLOP/s in 16 bits (bf16, or fp16 where there is none), and in fp32 without TF32. The first that fits.
PEAKS = (
    ("H100 PCIe", 756, 51),
    ("H100", 989, 67),
    ("H200", 989, 67),
    ("B200", 2250, 80),
    ("A100", 312, 19.5),
    ("L40S", 362, 91.6),
    ("L4", 121, 30.3),
    ("A10G", 70, 31.2),
    ("A10", 125, 31.2),
    ("RTX A6000", 155, 38.7),
    ("RTX 5090", 209, 104.8),
    ("RTX 4090", 165, 82.6),
    ("RTX 3090", 71, 35.6),
    ("RTX 3060", 51, 12.7),
    ("V100", 125, 15.7),
    ("T4", 65, 8.1),
)
OTHER_BUILDS = frozenset(("mig", "laptop", "nvl"))  # slices and slower builds under the same name


def peak_of(name: str, precision: str = "bf16") -> float | None:
    """Operations a second of a GPU by the name that its driver gives; None where it is not known."""
    words = set(re.split(r"[\s-]+", name.lower()))
    if words & OTHER_BUILDS:
        return None
    for text, half, single in PEAKS:
        if set(text.lower().split()) <= words:
            return (single if precision == "fp32" else half) * 1e12
    return None
