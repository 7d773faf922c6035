#!/bin/bash
# Write a dataset. Options go to `shardforge write`:
#
#   sbatch slurm/make-wds.sh --db mapping.duckdb --out shards --size 224              one node, local worker processes
#   sbatch --nodes=4 --exclusive slurm/make-wds.sh --db mapping.duckdb --out shards   Ray over the allocation
#   slurm/submit-wds.sh 16 --db mapping.duckdb --out shards --size 224                an array, without Ray
#
# All three give the same bytes. A job that was requeued, or submitted again, goes on where it stopped. Submit from a
# folder that all nodes see. Set SHARDFORGE_VENV as for make-mapping.sh, and SHARDFORGE_EXECUTOR=local|ray to choose
# what the number of nodes would decide.
#
# The time goes into decoding and encoding; docs/benchmarks.md has images per second and core. An image of the largest
# size that is accepted (--max-pixels) takes 0.6 GB when decoded, hence 2 GB for each core.
#SBATCH --job-name=make-wds
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=2G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

[ -z "${SHARDFORGE_VENV:-}" ] || PATH="$SHARDFORGE_VENV/bin:$PATH"
workers=$((SLURM_JOB_NUM_NODES * SLURM_CPUS_PER_TASK))

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    if [ "${SLURM_ARRAY_TASK_MIN:?}" != 1 ] || [ "$SLURM_ARRAY_TASK_MAX" != "$SLURM_ARRAY_TASK_COUNT" ]; then
        echo "Error: the array must be 1-N, without gaps: element I writes part I of N." >&2
        exit 2
    fi
    set -- --shards "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
fi

executor=local
[ "$SLURM_JOB_NUM_NODES" = 1 ] || executor=ray
executor=${SHARDFORGE_EXECUTOR:-$executor}
if [ "$executor" = local ]; then
    set -x
    exec shardforge write --workers "$workers" "$@"
fi

# Ray: the head runs on the first node, which is this one. Port and folder follow the job, so that jobs can share a
# node, and a token of its own keeps other users of the network out.
RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE RAY_AUTH_TOKEN
port=$((20000 + SLURM_JOB_ID % 10000))
address=$(python -c 'import ray; print(ray.util.get_node_ip_address())'):$port
temporary=/tmp/ray-$SLURM_JOB_ID
# shellcheck disable=SC2016  # expanded on each node
srun --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c '
    case $SLURM_PROCID in
        0) set -- --head --port="${1##*:}" --temp-dir="$2" --include-dashboard=false ;;
        *) set -- --address="$1" ;;
    esac
    exec ray start --block --disable-usage-stats --num-cpus="$SLURM_CPUS_PER_TASK" \
        --min-worker-port=0 --max-worker-port=0 "$@"
' ray "$address" "$temporary" > "ray-$SLURM_JOB_ID.log" 2>&1 &
ray=$!
trap 'kill "$ray" || true; wait "$ray" || true; srun --ntasks-per-node=1 rm -rf "$temporary"' EXIT

if ! timeout 300 python -c '
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(1)
' "$address" "$SLURM_JOB_NUM_NODES"; then
    echo "Error: Ray did not come up on all $SLURM_JOB_NUM_NODES nodes within 5 minutes; see ray-$SLURM_JOB_ID.log." >&2
    exit 1
fi

set -x
shardforge write --executor ray --ray-address "$address" --workers "$workers" "$@" &
write=$!
{ set +x; } 2> /dev/null
trap 'kill -TERM "$write"' TERM
status=0
wait "$write" || status=$?
while kill -0 "$write" 2> /dev/null; do # a signal ended the wait; the command is finishing
    wait "$write" || status=$?
done
exit "$status"
