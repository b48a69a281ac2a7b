#!/bin/bash
# Boots one test host and stays as its launcher. Called by the driver, and by itself once inside each new namespace:
#   launch.sh enter NAME RUN LOWER CGROUP NETNS
# RUN holds upper/, work/ and root/; LOWER is the image, which stays untouched; CGROUP is the host's own, empty cgroup.
set -eu
stage=$1 name=$2 run=$3

enter() {
  echo $$ >"$2/cgroup.procs"
  # From here on everything is private to this host: mounts vanish with its last process.
  exec unshare --mount --cgroup --propagation private "$0" root "$name" "$run" "$1" "$3"
}

root() {
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$run/upper,workdir=$run/work" "$run/root"
  touch "$run/netns"
  mount --bind "/run/netns/$2" "$run/netns"
  mkdir -p /run/systemd
  mount -t tmpfs tmpfs /run/systemd # this machine's own systemd, if it has one, is none of the host's business

  # cgroup version 1 is hidden, so that systemd in the host sees a plain version 2.
  for mount in /sys/fs/cgroup/*; do umount "$mount" 2>/dev/null || true; done
  umount /sys/fs/cgroup
  mount -t cgroup2 none /sys/fs/cgroup

  # A cgroup hands controllers down only while no process is in it: the launcher gets a leaf of its own.
  mkdir /sys/fs/cgroup/launcher
  echo $$ >/sys/fs/cgroup/launcher/cgroup.procs
  for controller in $(</sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
  done
  exec unshare --pid --fork --kill-child --mount --mount-proc --propagation private "$0" boot "$name" "$run"
}

boot() {
  local count=0 status=133
  while [ "$status" = 133 ]; do # systemd-nspawn's exit code for "reboot me"
    count=$((count + 1)) status=0
    mkdir "/sys/fs/cgroup/boot-$count"
    nspawn "/sys/fs/cgroup/boot-$count" || status=$?
    find "/sys/fs/cgroup/boot-$count" -depth -type d -exec rmdir {} +
  done
  exit "$status"
}

nspawn() (
  echo "$BASHPID" >"$1/cgroup.procs"
  exec systemd-nspawn --directory "$run/root" --machine "$name" --network-namespace-path "$run/netns" --boot \
    --register=no --keep-unit --resolv-conf=off --capability=all --system-call-filter=@keyring
)

shift 3
"$stage" "$@"
