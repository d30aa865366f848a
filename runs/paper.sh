#!/usr/bin/env bash
# The paper's experiment (ARHN, arXiv 2604.11092): RLHN's public training data, unchanged (none), cleaned in modes R, F
# and R+F, and as RLHN relabelled it; E5-base trained on each; BEIR; one table. For a machine with GPUs.
#
#   runs/paper.sh --dry-run      every step, with its estimated calls, tokens, GPU hours and disk
#   runs/paper.sh                all of it; the same command goes on after an interruption
#
# Settings, from the environment:
#   SIZE       100K, 250K, 400K or 680K: which of RLHN's data (680K)
#   LLM        the judge, by its name on the hub (Qwen/Qwen3-32B)
#   URL        of a server that has it, such as http://host:8000/v1; unless given, vLLM is started here for the cleaning
#   GPUS       of this machine (1); TENSOR: over how many of them one copy of the LLM is spread (1)
#   METHOD     paper: passages judged alone, part answers count, as published; arhn: this tool's defaults (paper)
#   BEIR       a folder with trec-news, robust04, signal1m and bioasq as BEIR folders; unless given, the 12 public sets
#   SEED       of the training (42)
#   WORK       where everything goes (paper-SIZE)
#   GPU_PRICE  money for an hour of one GPU, for --dry-run
#   PYTHON     that arhn is installed for (python3)
set -euo pipefail

SIZE=${SIZE:-680K}
LLM=${LLM:-Qwen/Qwen3-32B}
URL=${URL:-}
GPUS=${GPUS:-1}
TENSOR=${TENSOR:-1}
METHOD=${METHOD:-paper}
BEIR=${BEIR:-}
SEED=${SEED:-42}
WORK=${WORK:-paper-$SIZE}
GPU_PRICE=${GPU_PRICE:-}
PYTHON=${PYTHON:-python3}
PORT=${PORT:-8000}

here=$(cd "$(dirname "$0")" && pwd)
dry=false
server=
case "${1:-}" in
  --dry-run) dry=true ;;
  '') ;;
  *) echo "usage: $0 [--dry-run]; settings are at the top of this file" >&2; exit 2 ;;
esac
case "$SIZE" in 100K | 250K | 400K | 680K) ;; *) echo "SIZE=$SIZE: expected 100K, 250K, 400K or 680K" >&2; exit 2 ;; esac
case "$METHOD" in
  paper) method=(--set show_answer=false --set fullness=false --set ranker.name=listwise) ;;
  arhn) method=() ;;
  *) echo "METHOD=$METHOD: expected paper or arhn" >&2; exit 2 ;;
esac

# step KIND DONE COMMAND...: run a command, unless what it makes is there.
step() {
  local kind=$1 made=$2 state=todo
  shift 2
  if [ -n "$made" ] && [ -e "$made" ]; then state=done; fi
  if $dry; then
    printf '%s\t%s\t%s\n' "$kind" "$state" "$(printf '%q ' "$@")"
  elif [ "$state" = todo ]; then
    "$@"
  fi
}

serve() {
  local command=(vllm serve "$LLM" --port "$PORT" --max-model-len 8192
    --tensor-parallel-size "$TENSOR" --data-parallel-size "$((GPUS / TENSOR))")
  if [ -n "$URL" ]; then return; fi
  URL=http://localhost:$PORT/v1
  if $dry; then step serve "" "${command[@]}"; return; fi
  if [ -e "$WORK/rf.jsonl.zst" ] && [ -e "$WORK/r.jsonl.zst" ] && [ -e "$WORK/f.jsonl.zst" ]; then return; fi
  "${command[@]}" >"$WORK/vllm.log" 2>&1 &
  server=$!
  trap 'stop' EXIT
  until curl --silent --fail --output /dev/null "http://localhost:$PORT/health"; do
    kill -0 "$server" || { echo "vLLM didn't start: $WORK/vllm.log" >&2; exit 1; }
    sleep 5
  done
}

# The GPUs are needed for training.
stop() {
  if [ -n "$server" ]; then kill "$server" || true; wait "$server" || true; server=; fi
}

clean() { # KIND NAME MODE: all modes share the answers, so that only the first one asks
  step "$1" "$WORK/$2.jsonl.zst" arhn clean "$WORK/none.jsonl.zst" -o "$WORK/$2.jsonl.zst" --mode "$3" \
    --store "$WORK/answers.sqlite" --engine openai --url "$URL" --model "$LLM" "${method[@]}"
}

train() { # NAME
  local launch=()
  if [ "$GPUS" -gt 1 ]; then launch=(torchrun --nproc-per-node "$GPUS" --no-python); fi
  step train "$WORK/models/$1/arhn.train.json" "${launch[@]}" arhn train "$WORK/$1.jsonl.zst" -o "$WORK/models/$1" \
    --recipe e5-base --seed "$SEED" --resume
}

evaluate() { # NAME
  local sets=(--tasks beir12)
  if [ -n "$BEIR" ]; then
    sets=(--tasks beir16)
    for name in trec-news robust04 signal1m bioasq; do sets+=(--data "$name=$BEIR/$name"); done
  fi
  # Always run: it goes on where it was, and does nothing where it is through.
  step evaluate "" arhn evaluate "$WORK/models/$1" -o "$WORK/results/$1" --max-length 512 "${sets[@]}"
}

main() {
  $dry || mkdir -p "$WORK/models" "$WORK/results"
  step fetch "$WORK/none.jsonl.zst" arhn convert "hf://rlhn/default-$SIZE:train" -o "$WORK/none.jsonl.zst" --to tevatron
  step fetch "$WORK/rlhn.jsonl.zst" arhn convert "hf://rlhn/rlhn-$SIZE:train" -o "$WORK/rlhn.jsonl.zst" --to tevatron
  serve
  clean clean rf R+F
  clean again r R
  clean again f F
  $dry || stop
  for name in none r f rf rlhn; do train "$name"; done
  for name in none r f rf rlhn; do evaluate "$name"; done
  step compare "" arhn compare "none=$WORK/results/none" "R=$WORK/results/r" "F=$WORK/results/f" \
    "R+F=$WORK/results/rf" "RLHN=$WORK/results/rlhn" --baseline none --json "$WORK/table.json" \
    --plot "$WORK/table.png" --overwrite
}

if $dry; then
  price=()
  if [ -n "$GPU_PRICE" ]; then price=(--gpu-price "$GPU_PRICE"); fi
  sets=12
  if [ -n "$BEIR" ]; then sets=16; fi
  main | "$PYTHON" "$here/dry_run.py" "$here/paper.toml" --size "$SIZE" --llm "$LLM" --method "$METHOD" \
    --gpus "$GPUS" --sets "$sets" "${price[@]}"
else
  main
fi
