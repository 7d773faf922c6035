#!/bin/bash
# A real Slurm of one node, this one, for tests. It needs Debian's slurm-wlm and munge, and touches nothing outside of
# FOLDER: configuration, keys, sockets, logs and state all lie there.
#
#   tests/slurm-one-node.sh start FOLDER     then: export SLURM_CONF=FOLDER/slurm.conf
#   tests/slurm-one-node.sh stop FOLDER
set -euo pipefail

folder=$(realpath -m "$2")
export SLURM_CONF=$folder/slurm.conf
PATH=$PATH:/usr/sbin

start() {
    for program in slurmctld slurmd munged sbatch; do
        if ! command -v "$program" > /dev/null; then
            echo "Error: $program is not installed; on Debian: apt-get install slurm-wlm munge" >&2
            exit 2
        fi
    done
    umask 077
    mkdir -p "$folder/state" "$folder/spool"
    write_config
    head -c 128 /dev/urandom > "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    slurmctld
    slurmd
    for _ in $(seq 300); do
        [ "$(sinfo --noheader --format=%t 2> /dev/null)" = idle ] && return
        sleep 0.1
    done
    echo "Error: Slurm's node is not idle after 30 seconds; see $folder/slurmctld.log and slurmd.log" >&2
    exit 1
}

write_config() {
    local host memory
    host=$(hostname -s)
    memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) * 9 / 10240))
    cat > "$SLURM_CONF" <<CONFIG
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$folder/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONFIG
}

stop() {
    for daemon in slurmd slurmctld munged; do
        if [ -f "$folder/$daemon.pid" ]; then
            pid=$(cat "$folder/$daemon.pid")
            kill "$pid" && while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
        fi
    done
}

case $1 in
    start | stop) "$1" ;;
    *)
        echo "usage: $0 start|stop FOLDER" >&2
        exit 2
        ;;
esac
