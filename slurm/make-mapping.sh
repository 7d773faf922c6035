#!/bin/bash
# Scan sources into the mapping database, on one node. Options go to `shardforge map`:
#
#   sbatch slurm/make-mapping.sh --db mapping.duckdb --source photos=folder:/data/photos
#
# Set SHARDFORGE_VENV to a virtual environment, or have `shardforge` on PATH when submitting. Submitting the same line
# again brings the mapping up to date; an interrupted scan is simply repeated.
#
# Scanning reads the head of every file: it waits for the file system more than it computes, and memory stays small.
#SBATCH --job-name=make-mapping
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=1G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

[ -z "${SHARDFORGE_VENV:-}" ] || PATH="$SHARDFORGE_VENV/bin:$PATH"
set -x
exec shardforge map --workers "$SLURM_CPUS_PER_TASK" "$@"
