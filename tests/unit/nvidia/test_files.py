"""The files that hold the driver in its place."""

from __future__ import annotations

from farrier.nvidia import files
from tests.unit.nvidia.machines import BARE, DEBIAN, TRIXIE, UBUNTU

INDEXES = BARE["indexes"]


def test_what_apt_does_not_read_yet_comes_from_the_hosts_own_mirrors() -> None:
    text = files.sources("debian", DEBIAN, INDEXES, "")
    assert text.count("Components: contrib non-free non-free-firmware\n") == 3
    assert "URIs: http://mirror.example.org/debian/\nSuites: bookworm-updates\n" in text


def test_an_address_keeps_the_key_that_it_is_read_with() -> None:
    stanzas = files.sources("debian", DEBIAN, INDEXES, "").split("\n\n")
    signed = [stanza for stanza in stanzas if "Signed-By: /usr/share/keyrings/key.gpg" in stanza]
    assert len(signed) == 1
    assert "debian-security" in signed[0]


def test_what_apt_reads_already_is_not_written_again() -> None:
    more = [
        index.replace(" main ", f" {name} ")
        for name in ("contrib", "non-free", "non-free-firmware")
        for index in INDEXES
    ]
    assert files.sources("debian", DEBIAN, INDEXES + more, "") == ""


def test_our_own_file_stays_when_apt_reads_it() -> None:
    before = files.sources("debian", DEBIAN, INDEXES, "")
    assert files.sources("debian", DEBIAN, [*INDEXES, INDEXES[0].replace("main", "contrib")], before) == before


def test_other_peoples_releases_and_archives_are_left_alone() -> None:
    others = [
        "http://mirror.example.org/debian/ sid main $(SIGNED_BY)",
        "https://example.org/apt/ bookworm stable /key.gpg",
    ]
    assert files.sources("debian", DEBIAN, others, "") == ""


def test_nvidias_repository_follows_the_distribution_and_trusts_its_own_key() -> None:
    before = files.sources("debian", TRIXIE, INDEXES, "")
    text = files.sources("nvidia_repo", TRIXIE, INDEXES, before)
    assert "URIs: https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64/\nSuites: /\n" in text
    assert "Signed-By: /etc/apt/keyrings/farrier-nvidia.asc\n" in text
    assert "/ubuntu2404/x86_64/" in files.sources("nvidia_repo", UBUNTU, [], "")


def test_the_pinned_version_is_read_back() -> None:
    assert files.pinned(files.preferences("535.309.01-0+deb12u1", {"nvidia-modprobe": "1"})) == "535.309.01-0+deb12u1"
    assert files.pinned("") is None


def test_unattended_upgrades_keep_off_the_driver() -> None:
    text = files.unattended("ubuntu")
    assert text.startswith("//")
    for name in ("nvidia-", "libnvidia-", "libcuda", "firmware-nvidia-gsp", "linux-modules-nvidia-"):
        assert f'  "{name}";\n' in text
