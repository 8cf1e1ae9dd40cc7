#!/usr/bin/env bash
# with-systemd.sh COMMAND [ARG...]: runs COMMAND as root under a systemd of its own (PID 1, booted for it), and ends as it does.
#
# It all happens in namespaces, on a throw-away overlay of this machine's file system and with no network but loopback:
# nothing that COMMAND installs, starts or deletes reaches the machine. This clone is at /clone there, and can only be read.
# Exit status 125: systemd could not be booted, and standard error says why.
# Needs root, systemd and unshare (util-linux). BOOT_S bounds the whole run, 240 seconds if it is not set.
set -euo pipefail

cannot() {
    echo "with-systemd: $*" >&2
    exit 125
}

[ $# -ge 1 ] || { echo "usage: with-systemd.sh COMMAND [ARG...]" >&2; exit 2; }
[ "$(uname)" = Linux ] || cannot "this is not Linux"
[ "$(id -u)" = 0 ] || cannot "needs root"
systemd=/lib/systemd/systemd
[ -x "$systemd" ] || cannot "systemd is not installed (Debian: apt-get install systemd systemd-sysv dbus)"
command -v unshare >/dev/null || cannot "unshare is not installed (Debian: apt-get install util-linux)"
if [ "${WITH_SYSTEMD_MOUNTS:-}" != private ]; then
    unshare --mount true 2>/dev/null || cannot "this machine lets nobody make namespaces, not even root (a container?)"
    WITH_SYSTEMD_MOUNTS=private exec unshare --mount "$0" "$@" # so that no mount has to be operation
fi
clone=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/../.." && pwd)

base=$(mktemp -d /var/tmp/with-systemd.XXXXXX)
boot=
group=
clean() {
    [ -z "$boot" ] || { kill -9 "$boot" && wait "$boot"; } 2>/dev/null || true
    for ((i = 0; i < 50; i++)); do # what was killed is gone in a moment
        [ -n "$group" ] && [ -d "$group" ] || break
        find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || sleep 0.1
    done
    umount -l "$base/cgroup" 2>/dev/null || true
    rm -rf -- "$base"
}
trap clean EXIT
mkdir "$base/io" "$base/scratch" "$base/cgroup"
# Its control groups go into one of ours, so that they meet those of no other systemd.
mount -t cgroup2 cgroup2 "$base/cgroup" || cannot "this kernel has no control groups (v2)"
group=$base/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
group=${group%/}/${base##*/}
mkdir "$group" 2>/dev/null || cannot "control groups cannot be made here (a container?)"
printf '%q ' "$@" >"$base/io/command"

cat >"$base/init" <<'INIT'
set -eu
base=$1 clone=$2 systemd=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$base/scratch"
mkdir "$base"/scratch/{up,work,root}
root=$base/scratch/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/scratch/up,workdir=$base/scratch/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys" # of the new network namespace
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/clone" "$root/run/io" "$root/run/old"
mount --bind "$clone" "$root/clone"
mount -o remount,bind,ro "$root/clone"
mount --bind "$base/io" "$root/run/io"
units=$root/etc/systemd/system
mkdir -p "$units/multi-user.target.wants"
# What else the machine starts at boot is none of our business, and some of it would set up the kernel, which is shared.
find "$root"/etc/systemd/system/*.wants "$root"/lib/systemd/system/multi-user.target.wants -type l -delete 2>/dev/null || true
for unit in systemd-{sysctl,binfmt,modules-load,remount-fs,update-utmp,udevd,tmpfiles-setup-dev}.service \
    proc-sys-fs-binfmt_misc.automount sys-kernel-{config,debug,tracing}.mount sys-fs-fuse-connections.mount \
    dev-{hugepages,mqueue}.mount; do
    ln -sf /dev/null "$units/$unit"
done
cat >"$units/job.service" <<'UNIT'
[Unit]
Description=the command under test
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'status=0; (eval "$(cat /run/io/command)") >/run/io/out 2>&1 </dev/null || status=$?; echo $status >/run/io/status'
TimeoutStartSec=infinity
UNIT
ln -s ../job.service "$units/multi-user.target.wants/job.service"
cd "$root"
pivot_root . run/old
umount -l /run/old
mount --make-rshared / # as on a booted machine: credentials reach a service by mount propagation
export container=with-systemd PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec "$systemd" --system --unit=multi-user.target --log-level=warning --log-target=journal-or-kmsg
INIT

# When unshare is killed, so is the PID 1 that it waits for, and with that everything in there.
bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' join "$group" \
    unshare --pid --fork --kill-child --mount --mount-proc --net --cgroup --ipc --uts \
    bash "$base/init" "$base" "$clone" "$systemd" >"$base/log" 2>&1 </dev/null &
boot=$!
for ((i = 0; i < ${BOOT_S:-240} * 10; i++)); do
    [ ! -s "$base/io/status" ] || break
    kill -0 "$boot" 2>/dev/null || break
    sleep 0.1
done
[ ! -e "$base/io/out" ] || cat "$base/io/out"
if [ -s "$base/io/status" ]; then
    exit "$(cat "$base/io/status")"
elif [ -e "$base/io/out" ]; then
    echo "with-systemd: not done within ${BOOT_S:-240} s" >&2
    exit 124
fi
tail -n 20 "$base/log" >&2
cannot "systemd did not boot here; above is what it said"
