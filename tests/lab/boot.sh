# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# shellcheck shell=sh
#
# Turns the namespaces it is started in into a host: boot.sh KIND TREE SCRATCH NAME KEYS
#
# KIND is "plain" (sshd below a small init, PID 1 of its own PID namespace) or
# "systemd" (a real systemd, through systemd-nspawn). All mounts are made in a
# mount namespace of the host's own, so they end with it.
set -eu

kind=$1
tree=$2
scratch=$3
name=$4
keys=$5

mount -t tmpfs -o mode=755 lab "$scratch"
cd "$scratch"
mkdir upper work root
mount -t overlay -o "lowerdir=$tree,upperdir=upper,workdir=work" lab root
cp "$keys" root/etc/ssh/lab_keys
echo "$name" >root/etc/hostname

if [ "$kind" = systemd ]; then
    # Without a cgroup of its own, this systemd would share one with its neighbours.
    group=$(basename "$(dirname "$scratch")")/$name
    for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
        [ -e "$hierarchy/cgroup.procs" ] || continue
        mkdir -p "$hierarchy/$group"
        echo $$ >"$hierarchy/$group/cgroup.procs"
    done
    # What nspawn notes about its machines stays in this mount namespace too.
    mkdir -p /run/systemd/nspawn
    mount -t tmpfs -o mode=755 nspawn /run/systemd/nspawn
    # Not replaced by nspawn: as init of the PID namespace around it this shell takes the whole
    # machine with it when it is killed; nspawn's own end would leave its systemd running.
    mount -t proc proc /proc
    systemd-nspawn --quiet --keep-unit --register=no --network-namespace-path=/proc/self/ns/net \
        --console=pipe --resolv-conf=off --timezone=off --link-journal=no -M "$name" -D root --boot
    exit
fi

cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755,nosuid,nodev,noexec run run
mount -t tmpfs -o mode=1777,nosuid,nodev tmp tmp
mount -t tmpfs -o mode=755,nosuid dev dev
mkdir dev/pts dev/shm run/sshd run/lock
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
hostname "$name"

# The old root stays stacked below the new one until it is taken away.
pivot_root . .
umount -l .
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    chroot . /usr/bin/tini -- /usr/sbin/sshd -D -e
