#!/bin/sh
# image.sh ROOT KEY: turns a copy of a test host's root into that of a machine with a kernel of its own.
# Runs in a mount namespace of its own: what it mounts is gone with it.
set -eu
root=$1 key=$2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get update -qq
chroot "$root" apt-get install -y -qq --no-install-recommends initramfs-tools linux-image-cloud-amd64 zstd
chroot "$root" apt-get clean
cp "$root"/boot/vmlinuz-* "$root/../vmlinuz"
cp "$root"/boot/initrd.img-* "$root/../initrd"
echo limits >"$root/etc/hostname"
cat >"$root/etc/systemd/network/10-all.network" <<'END'
[Match]
Name=e*
[Network]
Address=10.0.2.15/24
END
chroot "$root" systemctl --quiet enable systemd-networkd.service
# Nothing here waits for a network that leads elsewhere.
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service
install -d -m 700 "$root/root/.ssh"
install -m 600 "$key" "$root/root/.ssh/authorized_keys"
