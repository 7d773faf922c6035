#!/bin/bash
# Submit an array of jobs that write a dataset's shards, and one more job that writes its manifest when all are done:
#
#   slurm/submit-wds.sh PARTS [SBATCH OPTIONS --] WRITE OPTIONS
#   slurm/submit-wds.sh 16 --db mapping.duckdb --out shards --size 224
#   slurm/submit-wds.sh 16 --cpus-per-task=8 --time=02:00:00 -- --db mapping.duckdb --out shards --size 224
#
# When a part fails, the last job is cancelled; submit the same line again: finished shards are kept.
set -euo pipefail

parts=${1:-}
if ! [[ $parts =~ ^[1-9][0-9]*$ ]]; then
    echo "Error: give the number of parts, then the options of shardforge write: $0 16 --db mapping.duckdb --out shards" >&2
    exit 2
fi
shift

options=()
if [[ " $* " == *" -- "* ]]; then
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
fi

submit=(sbatch --parsable "${options[@]}")
script=$(dirname "$0")/make-wds.sh
array=$("${submit[@]}" --array="1-$parts" "$script" "$@")
finish=$("${submit[@]}" --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes "$script" "$@")
echo "Submitted $parts parts as job ${array%%;*}, and the manifest as job ${finish%%;*}."
