#!/bin/bash
# Verify a dataset, on one node. Options go to `shardforge verify`:
#
#   sbatch slurm/verify.sh shards/_info.json
#   sbatch slurm/verify.sh --shardlist 'shards/train/shards-train-{000003..000031}.tar'
#
# The paths of bad shards go to the file SHARDFORGE_BAD_SHARDS (default: bad-shards-JOBID.txt), the problems to the log.
# The job fails when a shard is bad. Set SHARDFORGE_VENV as for make-mapping.sh.
#
# Checksums run at the speed of the file system; `--level decode` needs about as much computing as writing does.
#SBATCH --job-name=verify-wds
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=1G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

[ -z "${SHARDFORGE_VENV:-}" ] || PATH="$SHARDFORGE_VENV/bin:$PATH"
set -x
exec shardforge verify --workers "$SLURM_CPUS_PER_TASK" "$@" > "${SHARDFORGE_BAD_SHARDS:-bad-shards-$SLURM_JOB_ID.txt}"
