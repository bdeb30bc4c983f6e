#!/usr/bin/env bash
# device.sh FOLDER PORT: the userland of make_rootfs.sh FOLDER behind its own sshd at 127.0.0.1:PORT, until it is killed.
#
# qemu's user mode runs each program; the kernel, its load and its number of CPUs are this machine's. The device is a
# throw-away layer over FOLDER/rootfs in namespaces of its own: kill this process, and all of it is gone. Needs root.
set -euo pipefail
export ROOTFS PORT DISK_MB MEMORY_MB QEMU_CPU
ROOTFS=$(cd "$1" && pwd)/rootfs
PORT=$2
# What the device can write, and the memory that it believes it has.
DISK_MB=${DISK_MB:-2000}
MEMORY_MB=${MEMORY_MB:-1024}
# The processor of a Raspberry Pi 4; with qemu's default, inference takes eleven times as long.
QEMU_CPU=${QEMU_CPU:-cortex-a72}
# Nobody forgets it for longer than this.
LIMIT_S=${LIMIT_S:-3600}

[ -e "$ROOTFS/.complete" ] || { echo "no userland in $1: make_rootfs.sh $1" >&2; exit 2; }

mount_layer() {
    mount -t tmpfs -o "size=${DISK_MB}m,mode=755" tmpfs "$layer"
    mkdir -p "$layer/upper" "$layer/work" "$root"
    mount -t overlay overlay -o "lowerdir=$ROOTFS,upperdir=$layer/upper,workdir=$layer/work" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=755,size=64m tmpfs "$root/run"
    mkdir -p "$root/run/sshd"
}

make_dev() {
    local device name major minor
    mount -t tmpfs -o mode=755,size=4m tmpfs "$root/dev"
    mkdir -p "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
        IFS=: read -r name major minor <<< "$device"
        mknod -m 666 "$root/dev/$name" c "$major" "$minor"
    done
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
}

# Without these a program would read this machine's. Each says that it is made up, and the file says it to the agent.
make_facts() {
    local facts=$layer/facts
    mkdir "$facts"
    printf 'kind=qemu-user, %s\n' "$QEMU_CPU" > "$root/etc/virtual-device"
    for core in 0 1 2 3; do
        printf 'processor\t: %d\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n' "$core"
    done > "$facts/cpuinfo"
    printf 'Hardware\t: SIMULATED (qemu-user)\n' >> "$facts/cpuinfo"
    printf 'MemTotal: %d kB\nMemFree: %d kB\nMemAvailable: %d kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n' \
        $((MEMORY_MB * 1024)) $((MEMORY_MB * 700)) $((MEMORY_MB * 800)) > "$facts/meminfo"
    for name in cpuinfo meminfo; do mount --bind "$facts/$name" "$root/proc/$name"; done
    if [ -d "$root/sys/class/thermal" ]; then
        mount -t tmpfs -o mode=755,size=1m tmpfs "$root/sys/class/thermal"
        mkdir "$root/sys/class/thermal/thermal_zone0"
        echo cpu-thermal > "$root/sys/class/thermal/thermal_zone0/type"
        echo 48200 > "$root/sys/class/thermal/thermal_zone0/temp"
    fi
}

device() {
    set -euo pipefail
    layer=$(mktemp -d) root=$layer/root
    mount_layer
    make_dev
    make_facts
    hostname virtual-device
    # This shell stays as process 1, which collects what is left of ended connections.
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root QEMU_CPU="$QEMU_CPU" \
        /usr/sbin/sshd -D -e -p "$PORT" -o ListenAddress=127.0.0.1 -o SetEnv="QEMU_CPU=$QEMU_CPU" -o PidFile=none &
    wait
}

export -f device mount_layer make_dev make_facts
# It does not outlive who started it, however that ends.
exec setpriv --pdeathsig KILL unshare --mount --pid --uts --ipc --fork --kill-child=KILL --propagation private \
    timeout --foreground "$LIMIT_S" bash -c device
