#!/usr/bin/env bash
# The paper's experiment in small, on a CPU: the twin of paper.sh. Mines hard negatives, cleans them with a small LLM in
# modes R, F and R+F and as RLHN does it, trains a small retriever on each and on the groups as they are (none),
# evaluates them; one table. Under half an hour on two cores with the settings as they are.
#
#   FOLDER=data/nq runs/cpu.sh --dry-run      every command
#   FOLDER=data/nq runs/cpu.sh                all of it; the same command goes on after an interruption
#
# Settings, from the environment:
#   FOLDER     a BEIR folder: corpus.jsonl, queries.jsonl, qrels/train.tsv and qrels/test.tsv
#   OOD        one of another domain, with qrels/test.tsv; left out unless given
#   QUERIES    groups that are cleaned and trained on (40); the LLM takes most of the time
#   LLM        the judge: a name of 'arhn models' or a GGUF file (qwen2.5-coder-0.5b)
#   MODEL      what training begins with: a folder, or a name on the hub (sentence-transformers/all-MiniLM-L6-v2)
#   RECIPE     of the training (tiny), with batches of BATCH queries (8, for 40 groups are hardly one of the recipe's)
#   SEED       of the training (42)
#   WORK       where everything goes (cpu-QUERIES)
set -euo pipefail

FOLDER=${FOLDER:-}
OOD=${OOD:-}
QUERIES=${QUERIES:-40}
LLM=${LLM:-qwen2.5-coder-0.5b}
MODEL=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
RECIPE=${RECIPE:-tiny}
BATCH=${BATCH:-8}
SEED=${SEED:-42}
WORK=${WORK:-cpu-$QUERIES}

dry=false
case "${1:-}" in
  --dry-run) dry=true ;;
  '') ;;
  *) echo "usage: FOLDER=... $0 [--dry-run]; settings are at the top of this file" >&2; exit 2 ;;
esac
if [ -z "$FOLDER" ]; then echo "FOLDER isn't set: expected a BEIR folder, FOLDER=data/nq $0" >&2; exit 2; fi

# step DONE COMMAND...: run a command, unless what it makes is there. What arhn writes is there whole or not at all.
step() {
  local made=$1
  shift
  if $dry; then
    printf '%q ' "$@"
    echo
  elif [ -z "$made" ] || [ ! -e "$made" ]; then
    "$@"
  fi
}

clean() { # NAME FLAG...: all share the answers, so that R and F ask nothing that R+F has asked
  local name=$1
  shift
  step "$WORK/$name.jsonl" arhn clean "$WORK/mined.jsonl" -o "$WORK/$name.jsonl" --limit "$QUERIES" \
    --store "$WORK/answers.sqlite" "$@"
}

train() { # NAME
  step "$WORK/models/$1/arhn.train.json" arhn train "$WORK/$1.jsonl" -o "$WORK/models/$1" --recipe "$RECIPE" \
    --model "$MODEL" --set "batch=$BATCH" --seed "$SEED" --resume
}

evaluate() { # NAME
  local sets=(--data "in-domain=$FOLDER")
  if [ -n "$OOD" ]; then sets+=(--data "out-of-domain=$OOD"); fi
  step "" arhn evaluate "$WORK/models/$1" -o "$WORK/results/$1" "${sets[@]}" --trained-on in-domain
}

# Files of other settings must not be taken for ours.
begin() {
  local now="FOLDER=$FOLDER OOD=$OOD QUERIES=$QUERIES LLM=$LLM MODEL=$MODEL RECIPE=$RECIPE BATCH=$BATCH SEED=$SEED"
  mkdir -p "$WORK/models" "$WORK/results"
  if [ ! -e "$WORK/settings" ]; then
    echo "$now" >"$WORK/settings"
  elif [ "$(cat "$WORK/settings")" != "$now" ]; then
    echo "$WORK was started with $(cat "$WORK/settings"). Take another WORK, or remove it" >&2
    exit 2
  fi
}

$dry || begin
step "$WORK/mined.jsonl" arhn mine "$FOLDER" -o "$WORK/mined.jsonl"
clean none --method none
clean rf --model "$LLM" --mode R+F
clean r --model "$LLM" --mode R
clean f --model "$LLM" --mode F
clean rlhn --model "$LLM" --method rlhn
for name in none r f rf rlhn; do train "$name"; done
for name in none r f rf rlhn; do evaluate "$name"; done
step "" arhn compare "none=$WORK/results/none" "R=$WORK/results/r" "F=$WORK/results/f" "R+F=$WORK/results/rf" \
  "RLHN=$WORK/results/rlhn" --baseline none --json "$WORK/table.json" --plot "$WORK/table.png" --overwrite
$dry || echo "$SECONDS seconds"
