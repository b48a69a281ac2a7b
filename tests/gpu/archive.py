"""An apt archive with a driver that is none: packages of the real names, which install in a second.

dpkg, apt, its pins and holds are real. The "module" is built by the driver's own maintainer script, as DKMS does it,
for every kernel that has headers; the file /etc/break-build makes it end as a compiler's error does.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

OLD, NEW = "535.900.01-1", "535.900.02-1"
KERNEL, NEXT_KERNEL = "6.1.0-900-amd64", "6.1.0-901-amd64"
_LIBRARY = "usr/lib/x86_64-linux-gnu"
_DKMS = """\
#!/bin/sh
# What the real one prints, of what the driver's package noted.
[ "$1" = status ] && cat /var/lib/dkms/status 2>/dev/null
exit 0
"""
_BUILD = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
version={version}
mkdir -p /var/lib/dkms
: >/var/lib/dkms/status
for headers in /usr/src/linux-headers-*; do
  kernel=${{headers#/usr/src/linux-headers-}}
  if [ -e /etc/break-build ]; then
    mkdir -p /var/lib/dkms/nvidia-current/$version/build
    echo "nv-pci.c:237: error: too few arguments to function 'pci_resize_resource'" \
      >/var/lib/dkms/nvidia-current/$version/build/make.log
    echo "Error! Bad return status for module build on kernel: $kernel (x86_64)" >&2
    exit 10
  fi
  echo "nvidia-current/$version, $kernel, x86_64: installed" >>/var/lib/dkms/status
done
"""
# It lists a card for each that the machine has, once the host was booted with the driver.
_SMI = """\
#!/bin/sh
[ -e /run/driver-works ] || { echo "NVIDIA-SMI has failed because it couldn't communicate with the driver."; exit 9; }
grep -l 0x10de /sys/bus/pci/devices/*/vendor | sed 's/.*/GPU 0: NVIDIA (UUID: GPU-0)/'
"""
_PERSISTENCE = """\
[Unit]
Description=NVIDIA Persistence Daemon
[Service]
Type=forking
ExecStart=/usr/bin/nvidia-persistenced --user nvpd
[Install]
WantedBy=multi-user.target
"""
_SLEEP = "#!/bin/sh\ntouch /run/driver-works\nexec setsid -f sleep infinity\n"


def build(folder: Path) -> Path:
    """Write the archive; returns its folder."""
    for version in (OLD, NEW):
        upstream = version.partition("-")[0]
        _package(folder, "nvidia-kernel-dkms", version, {}, postinst=_BUILD.format(version=upstream), depends="dkms")
        library = f"{_LIBRARY}/libnvidia-ml.so.{upstream}"
        links = {f"{_LIBRARY}/libnvidia-ml.so.1": f"libnvidia-ml.so.{upstream}"}
        _package(folder, "libnvidia-ml1", version, {library: "no library\n"}, links=links)
        _package(folder, "nvidia-smi", version, {"usr/bin/nvidia-smi": _SMI}, depends=f"libnvidia-ml1 (= {version})")
        for name in ("libcuda1", "libnvidia-cfg1"):
            _package(folder, name, version, {})
    unit = {"lib/systemd/system/nvidia-persistenced.service": _PERSISTENCE, "usr/bin/nvidia-persistenced": _SLEEP}
    _package(folder, "nvidia-persistenced", "9:1", unit)
    _package(folder, "nvidia-modprobe", "9:1", {"usr/bin/nvidia-modprobe": "#!/bin/sh\n"})
    _package(folder, "dkms", "9:1", {"usr/sbin/dkms": _DKMS})
    _kernel(folder, KERNEL, "9:1")
    _kernel(folder, NEXT_KERNEL, "9:2")
    listed = subprocess.run(
        ["dpkg-scanpackages", "--multiversion", "."], cwd=folder, check=True, capture_output=True, text=True
    )
    (folder / "Packages").write_text(listed.stdout)
    return folder


def _kernel(folder: Path, kernel: str, version: str) -> None:
    image = {f"boot/vmlinuz-{kernel}": "no kernel\n", f"lib/modules/{kernel}/modules.order": "\n"}
    _package(folder, f"linux-image-{kernel}", version, image)
    _package(folder, f"linux-headers-{kernel}", version, {f"usr/src/linux-headers-{kernel}/Makefile": "\n"})
    for part in ("image", "headers"):
        _package(folder, f"linux-{part}-amd64", version, {}, depends=f"linux-{part}-{kernel}")


def _package(
    folder: Path,
    name: str,
    version: str,
    files: dict[str, str],
    *,
    postinst: str = "",
    depends: str = "",
    links: dict[str, str] | None = None,
) -> None:
    root = folder / "roots" / f"{name}-{version.replace(':', '.')}"
    (root / "DEBIAN").mkdir(parents=True)
    head = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Tests <tests@example.org>\n"
    control = head + (f"Depends: {depends}\n" if depends else "") + "Description: nothing\n"
    (root / "DEBIAN" / "control").write_text(control)
    scripts = {"DEBIAN/postinst": postinst} if postinst else {}
    for path, text in (files | scripts).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o755 if text.startswith("#!") else 0o644)
    for path, target in (links or {}).items():
        (root / path).symlink_to(target)
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", "-Znone", str(root), str(folder / f"{root.name}.deb")],
        check=True,
        capture_output=True,
    )
