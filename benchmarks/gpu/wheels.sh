#!/usr/bin/env bash
# Collects the wheels that a GPU machine without a network lacks into one folder, and checks their size:
#     bash benchmarks/gpu/wheels.sh .whl
# On that machine, in this repository:
#     python3 -m pip install -q --no-index --no-deps --no-compile --target ~/site .whl/*.whl
#     PYTHONPATH=$PWD:~/site python3 -m benchmarks.gpu
# It is taken to have Linux on x86-64 with Python 3.12 and, from its own image, torch with CUDA 13, transformers,
# accelerate, peft, pyarrow, pandas, scipy, matplotlib, tensorboard and jinja2. Versions are those of constraints.txt.
#
# Environment:
#   HAS             a file of what is installed there (`python3 -m pip list --format=freeze`): left out
#   PYTHON          the Python that calls pip and has torch, for DeepSpeed's setup (python3)
#   PYTHON_VERSION  of that machine (3.12)
#   CUDA_LIBRARY    the library of bitsandbytes that is kept beside the CPU's (cuda130)
#   MOST_MIB        the largest size allowed (64)
set -euo pipefail
out=${1:?usage: wheels.sh FOLDER [more packages]}
shift
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ -n "$(ls -A "$out" 2>/dev/null)" ]; then
    echo "error: $out is not empty, and two versions of a wheel would stop the installation" >&2
    exit 2
fi
mkdir -p "$out"

# What such an image lacks of setup.cfg, and what that needs in turn. regex, xxhash and others come with transformers.
lacking=(
    annotated-types bitsandbytes cffi datasets deepspeed dill espeakng-loader hjson indic-numtowords jiwer
    more-itertools multiprocess py-cpuinfo pycparser pydantic pydantic-core rapidfuzz soundfile soxr text2num
    typing-inspection whisper-normalizer "$@"
)
wanted=()
for name in "${lacking[@]}"; do
    if [ -z "${HAS:-}" ] || ! grep -qiE "^${name//[-_]/[-_.]}(==|$)" "$HAS"; then
        wanted+=("$name")
    fi
done

platforms=()
for release in 28 27 24 17; do
    platforms+=(--platform "manylinux_2_${release}_x86_64")
done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
for name in "${wanted[@]}"; do
    if [ "$name" = deepspeed ]; then
        # Published as source alone. Its operations are compiled there, where one is used.
        DS_BUILD_OPS=0 DS_ACCELERATOR=cpu "$python" -m pip wheel -q --no-deps --no-build-isolation \
            --constraint "$root/constraints.txt" -w "$out" "$name"
    else
        "$python" -m pip download -q --no-deps --only-binary=:all: --implementation cp \
            --python-version "${PYTHON_VERSION:-3.12}" "${platforms[@]}" \
            --constraint "$root/constraints.txt" -d "$out" "$name"
    fi
done

# bitsandbytes has a library for each CUDA release, hundreds of MiB together.
for wheel in "$out"/bitsandbytes-*.whl; do
    [ -e "$wheel" ] || continue
    "$python" - "$wheel" "${CUDA_LIBRARY:-cuda130}" <<'PY'
import os
import sys
import zipfile

path, kept = sys.argv[1:]


def is_left_out(name: str) -> bool:
    return "/libbitsandbytes_" in name and not any(name.split(",")[0].endswith(f"_{one}.so") for one in (kept, "cpu"))


with zipfile.ZipFile(path) as whole, zipfile.ZipFile(f"{path}.part", "w", zipfile.ZIP_DEFLATED) as small:
    names = [name for name in whole.namelist() if not is_left_out(name)]
    if not any(name.endswith(f"_{kept}.so") for name in names):
        sys.exit(f"error: {path} has no library for {kept}")
    for name in names:
        content = whole.read(name)
        if name.endswith(".dist-info/RECORD"):
            lines = content.decode().splitlines()
            content = "".join(f"{line}\n" for line in lines if not is_left_out(line)).encode()
        small.writestr(name, content)
os.replace(f"{path}.part", path)
PY
done

size=$(du -sm "$out" | cut -f 1)
echo "$out: $(ls "$out"/*.whl | wc -l) wheels, $size MiB"
if [ "$size" -gt "${MOST_MIB:-64}" ]; then
    echo "error: more than ${MOST_MIB:-64} MiB" >&2
    exit 1
fi
