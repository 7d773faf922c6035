#!/bin/bash
# A real Slurm for tests: this machine plays two nodes, n1 and n2. It needs Debian's slurm-wlm and munge, no root, and
# touches nothing outside of FOLDER: configuration, key, sockets, logs and state all lie there.
#
#   tests/slurm-cluster.sh start FOLDER     then: export SLURM_CONF=FOLDER/slurm.conf
#   tests/slurm-cluster.sh stop FOLDER
set -euo pipefail

folder=$(realpath -m "${2:?usage: slurm-cluster.sh start|stop FOLDER}")
export SLURM_CONF=$folder/slurm.conf
PATH=$PATH:/usr/sbin

start() {
    for program in munged slurmctld slurmd sbatch; do
        if ! command -v "$program" > /dev/null; then
            echo "Error: $program is not installed; on Debian run apt-get install slurm-wlm munge" >&2
            exit 2
        fi
    done
    umask 077
    mkdir -p "$folder"/{state,n1,n2}
    write_config
    head -c 128 /dev/urandom > "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    slurmctld
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 300); do
        [ "$(sinfo --noheader --format=%t:%D 2> /dev/null)" = idle:2 ] && return
        sleep 0.1
    done
    echo "Error: Slurm's nodes are not idle after 30 seconds; see the logs in $folder" >&2
    exit 1
}

write_config() {
    local user host size
    user=$(id -un)
    host=$(hostname -s)
    size="CPUs=$((($(nproc) + 1) / 2)) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)"
    cat > "$SLURM_CONF" <<CONFIG
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmUser=$user
SlurmdUser=$user
AuthInfo=socket=$folder/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=26818 $size
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=26819 $size
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONFIG
}

stop() {
    local pid_file pid
    for pid_file in "$folder"/{n1,n2,slurmctld,munged}.pid; do
        if [ -f "$pid_file" ]; then
            pid=$(cat "$pid_file")
            kill "$pid"
            while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
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
