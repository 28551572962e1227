#!/usr/bin/env bash
# Exercise several processes on a machine with a GPU: NCCL with one process, gloo with two that share the GPU, and NCCL
# with two where there are two GPUs. Some minutes. Run it from the project's folder with betabloom installed.
#
#     tools/gpu_check_distributed.sh [cuda|cpu] [STEPS]
#
# With "cpu" it is rehearsed without a GPU: the same steps, with gloo.
set -euo pipefail
device=${1:-cuda} steps=${2:-200}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
words=(train drawn:512 --preset tiny --steps "$steps" --device "$device" --precision fp32 --set batch=64 --set validations=2)

run() { # name, processes
    python -m torch.distributed.run --standalone --nproc-per-node "$2" -m betabloom "${words[@]}" -o "$folder/$1" 2> "$folder/$1.log" \
        || { tail -n 20 "$folder/$1.log"; exit 1; }
}

python -m betabloom "${words[@]}" -o "$folder/alone" 2> "$folder/alone.log" || { tail -n 20 "$folder/alone.log"; exit 1; }
# One process under torchrun is no group; an all-reduce among one is checked by itself.
MASTER_ADDR=127.0.0.1 MASTER_PORT=29577 python - "$device" <<'PY'
import sys
import torch, torch.distributed as dist
backend = "nccl" if sys.argv[1] == "cuda" else "gloo"
dist.init_process_group(backend, rank=0, world_size=1)
x = torch.ones(4, device=sys.argv[1])
dist.all_reduce(x)
assert x.sum().item() == 4
dist.destroy_process_group()
print(f"{backend} answers")
PY
run shared 2
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
if [ "$device" = cpu ]; then echo "no GPU: that was gloo, a rehearsal"
elif [ "$gpus" -gt 1 ]; then echo "two GPUs: that was NCCL"
else echo "one GPU: that was gloo"; fi
python - "$folder" <<'PY'
import json, sys
from pathlib import Path
runs = []
for name in ("alone", "shared"):
    lines = map(json.loads, (Path(sys.argv[1]) / name / "metrics.jsonl").read_text().splitlines())
    runs.append({(line["step"], line["split"]): line["loss"] for line in lines})
assert runs[0].keys() == runs[1].keys(), "other lines"
worst = max(abs(runs[0][key] - runs[1][key]) / abs(runs[0][key]) for key in runs[0])
print(f"largest relative difference of the losses of {len(runs[0])} lines: {worst:.1e}")
assert worst < 1e-2
PY
