#!/usr/bin/env bash
# make_rootfs.sh FOLDER: an arm64 Debian userland with Python, sshd, numpy and onnxruntime in FOLDER/rootfs.
#
# Needs root, debootstrap, qemu-user-static and a kernel with binfmt_misc; PYTHON names a Python with pip. A rootfs that is
# complete is used again; FORCE=1 builds it anew. Packages come from where this machine's apt and pip get theirs.
set -euo pipefail
WORK=$(mkdir -p "$1" && cd "$1" && pwd)
ROOTFS=$WORK/rootfs
SUITE=${SUITE:-$(. /etc/os-release; echo "$VERSION_CODENAME")}
PYTHON=${PYTHON:-python3}
# Each long step's bound.
LIMIT_S=${LIMIT_S:-1500}
PACKAGES=python3,openssh-server,openssh-sftp-server
BINFMT=/proc/sys/fs/binfmt_misc
export DEBIAN_FRONTEND=noninteractive

log() { printf '[%4ss] %s\n' "$SECONDS" "$*" >&2; }
fail() { log "$*"; exit 1; }

# Lets the kernel run aarch64 programs through qemu, also inside a chroot.
register_qemu() {
    [ -e $BINFMT/register ] || mount -t binfmt_misc binfmt_misc $BINFMT || fail "this kernel has no binfmt_misc"
    [ -e $BINFMT/qemu-aarch64 ] && return
    local qemu flags=OF
    qemu=$(command -v qemu-aarch64-static) || fail "no qemu-aarch64-static: apt-get install qemu-user-static"
    # F opens the interpreter now, so that no copy of it is needed inside; P keeps argv[0], which takes a qemu of this name.
    [ -e /usr/libexec/qemu-binfmt/aarch64-binfmt-P ] && { qemu=/usr/libexec/qemu-binfmt/aarch64-binfmt-P; flags=OPF; }
    printf '%s' ':qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$qemu:$flags" > $BINFMT/register
    log "registered qemu-aarch64 with binfmt_misc"
}

make_userland() {
    [ -e "$ROOTFS/.complete" ] && return
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $SUITE" | head -1)
    [ -n "$mirror" ] || fail "this machine's apt has no source for $SUITE"
    rm -rf --one-file-system "$ROOTFS"
    mkdir -p "$WORK/debs"
    log "debootstrap, arm64 $SUITE; its output is in $WORK/debootstrap.log"
    timeout "$LIMIT_S" debootstrap --arch=arm64 --variant=minbase --cache-dir="$WORK/debs" --include="$PACKAGES" \
        "$SUITE" "$ROOTFS" "$mirror" > "$WORK/debootstrap.log" 2>&1 || fail "debootstrap: $(tail -3 "$WORK/debootstrap.log")"
    touch "$ROOTFS/.complete"
}

# Runs in the userland, in namespaces of its own: its /proc and /dev go with it.
inside() {
    timeout "$LIMIT_S" unshare --mount --pid --fork --kill-child --propagation private bash -c '
        root=$1; shift
        mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"' _ "$ROOTFS" "$@"
}

# A login as a Raspberry Pi has one, by key alone.
make_login() {
    [ -e "$WORK/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C virtual-device -f "$WORK/id_ed25519"
    printf '%s\n' 'PasswordAuthentication no' 'UsePAM no' 'UseDNS no' 'PrintMotd no' \
        > "$ROOTFS/etc/ssh/sshd_config.d/virtual-device.conf"
    # A password of '*', not '!': without PAM, sshd refuses accounts that are locked.
    inside sh -c 'id pi >/dev/null 2>&1 || useradd -m -s /bin/bash -u 1000 -p "*" pi
                  ls /etc/ssh/ssh_host_ed25519_key >/dev/null 2>&1 || ssh-keygen -A'
    install -d -o 1000 -g 1000 -m 700 "$ROOTFS/home/pi/.ssh"
    install -o 1000 -g 1000 -m 600 "$WORK/id_ed25519.pub" "$ROOTFS/home/pi/.ssh/authorized_keys"
}

# pip runs here, for a platform that is not ours; inside it would be emulated, and slow.
install_wheels() {
    local version target
    version=$(cd "$ROOTFS/usr/bin" && ls | sed -n 's/^python3\.\([0-9]*\)$/3.\1/p' | head -1)
    target=$ROOTFS/usr/local/lib/python$version/dist-packages
    [ -e "$target/onnxruntime" ] && return
    log "onnxruntime and numpy for aarch64, Python $version"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: --target "$target" \
        --python-version "$version" --implementation cp --platform manylinux_2_28_aarch64 \
        --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 onnxruntime numpy
}

# Every worker of the agent imports these, and its login may not write here: once as root leaves Python's byte code.
compile_wheels() {
    local cached
    cached=$(find "$ROOTFS/usr/local/lib" -path '*onnxruntime/__pycache__/*' -print -quit)
    [ -n "$cached" ] || inside python3 -c 'import onnxruntime' 2> "$WORK/import.log" || fail "$(tail -3 "$WORK/import.log")"
}

register_qemu
make_userland
make_login
install_wheels
compile_wheels
log "ready: $(du -sm --one-file-system "$ROOTFS" | cut -f1) MiB in $ROOTFS"
