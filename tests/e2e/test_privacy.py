"""A patient's name goes in by every way there is, and is found nowhere; what is due to go goes, or the site says so."""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
from collections.abc import Iterator

import httpx
import nibabel
import pytest

from tests.e2e.site import PHANTOM, Site
from tests.unit.app.test_deidentify import dicom, says_nothing, zipped

WORDS = "quidditch|eleonore"
EMAIL = "eleonore.quidditch@example.org"
STATE = "/var/lib/farrier/knee"
# Everything that is written on a host; the test's own lines in root's shell history are none.
PLACES = f"{STATE} /etc/farrier /run/farrier /var/log /var/tmp /tmp /etc/caddy /var/lib/caddy"
DROP_INS = {
    "knee-web.service": "[Service]\nEnvironment=FARRIER_CLEANUP_PATIENCE=4\n",
    "knee-cleanup.timer": "[Timer]\nOnUnitActiveSec=\nOnUnitActiveSec=1\n",
}


def named_phantom() -> bytes:
    """The phantom as a patient's scan: her name in the header and in gzip's own."""
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(PHANTOM.read_bytes()))
    image.header["descrip"] = "Eleonore Quidditch"
    buffer = io.BytesIO()
    with gzip.GzipFile("Quidditch.nii", "wb", fileobj=buffer) as packed:
        packed.write(image.to_bytes())
    return buffer.getvalue()


def series() -> bytes:
    return zipped({f"Quidditch/{number:03}_Eleonore.dcm": dicom(number) for number in range(1, 13)})


def send(site: Site, name: str, content: bytes, **fields: str) -> str:
    with site.client() as client:
        answer = client.post("/upload", files={"file": (name, content)}, data={"email": EMAIL} | fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


def end_of(site: Site, job: str) -> str:
    def status() -> str:
        with site.client() as client:
            return str(client.get(f"/status/{job}").json()["status"])

    site.until(lambda: status() in ("complete", "error"), f"the end of {job}")
    return status()


def found(site: Site, words: str) -> list[str]:
    """Where on the host the words are written: files, and the journal."""
    # A page of the ledger that is in use may be in its log only; both are files.
    files = site.host.run(f"grep -rlaiE '{words}' {PLACES} --exclude-dir=journal 2>/dev/null").stdout.split()
    journal = site.host.run(f"journalctl --no-pager --output=export | grep -aciE '{words}'").stdout.strip()
    return files + ([f"journal: {journal} lines"] if journal != "0" else [])


def whole(content: bytes) -> bytes:
    """What a zip holds, with what is packed in it unpacked."""
    parts = [content]
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts += [whole(archive.read(name)) + name.encode() for name in archive.namelist()]
    elif content.startswith(b"\x1f\x8b"):
        parts.append(whole(gzip.decompress(content)))
    return b"".join(parts)


def test_a_patients_name_is_written_nowhere(site: Site) -> None:
    good = send(site, "Quidditch_Eleonore.nii.gz", named_phantom())
    kept = send(site, "Quidditch Eleonore.zip", series(), retain_results="true")
    bad = send(site, "Eleonore.nii", gzip.decompress(named_phantom())[:50_000])
    assert (end_of(site, good), end_of(site, bad)) == ("complete", "error")
    end_of(site, kept)
    assert f"{STATE}/ledger/ledger.sqlite" in "\n".join(found(site, good))  # the search finds what is there
    assert found(site, good)[-1].startswith("journal")
    assert found(site, WORDS) == []
    original = base64.b64decode(site.run(f"base64 {STATE}/uploads/{kept}/input.zip"))
    assert says_nothing(whole(original))
    with site.client() as client:
        assert says_nothing(whole(client.get(f"/download/{good}").content))
    for job in (good, bad):
        assert site.host.run(f"ls {STATE}/uploads/{job}").returncode != 0, "an original outlived its job"


def test_an_expired_job_is_gone_and_says_so(site: Site) -> None:
    job = site.submit()
    site.wait_for(job)
    change = f"UPDATE jobs SET expires_wall = 1 WHERE id = '{job}'"
    site.run(f"""runuser -u knee -- python3 -c "
import sqlite3
with sqlite3.connect('{STATE}/ledger/ledger.sqlite') as ledger: ledger.execute(\\"{change}\\")" """)
    # A run of the timer's own may be under way, and have looked before: the second start is one that has not.
    site.run("systemctl start knee-cleanup.service && systemctl start knee-cleanup.service")
    with site.client() as client:
        assert client.get(f"/status/{job}").json()["error_code"] == "EXPIRED"
        assert client.get(f"/download/{job}").status_code == 404
    assert site.run(f"find {STATE} -path '*{job}*'") == ""


@pytest.fixture
def hurried(site: Site) -> Iterator[Site]:
    """The clean-up every second, and a site that has little patience with it."""
    for unit, text in DROP_INS.items():
        site.run(f"mkdir -p /run/systemd/system/{unit}.d; printf '%s' '{text}' >/run/systemd/system/{unit}.d/90.conf")
    site.run("systemctl daemon-reload; systemctl restart knee-cleanup.timer knee-web.service")
    site.wait_until_serving()
    yield site
    site.run("rm -r " + " ".join(f"/run/systemd/system/{unit}.d" for unit in DROP_INS))
    site.run("systemctl daemon-reload; systemctl restart knee-cleanup.timer knee-web.service")
    site.wait_until_serving()


def test_readiness_turns_red_when_the_clean_up_stays_away_and_green_when_it_is_back(hurried: Site) -> None:
    def ready() -> httpx.Response:
        with hurried.client() as client:
            return client.get("/health/ready")

    hurried.run("systemctl stop knee-cleanup.timer")
    hurried.until(lambda: ready().status_code == 503, "readiness to turn red")
    assert ready().json()["missing"] == ["cleanup"]
    assert "systemctl status knee-cleanup.timer" in ready().json()["checks"]["cleanup"]
    hurried.run("systemctl start knee-cleanup.timer")
    hurried.until(lambda: ready().status_code == 200, "readiness to turn green again")
    assert hurried.run("systemctl --failed --plain --no-legend") == ""
