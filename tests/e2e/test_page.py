"""The page, in a real browser, through the front door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.e2e.site import PHANTOM, ROOT, Site

# Debian's own browser; it looks for nothing outside.
_CHROMIUM = "/usr/bin/chromium"
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_WITHIN = 60_000  # milliseconds for a job


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    """The front page. Chromium does not know the demo's CA; that the chain is right is httpx's part."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_QUIET)
        opened = browser.new_context(ignore_https_errors=True, viewport={"width": 900, "height": 820}).new_page()
        opened.goto(site.url)
        yield opened
        browser.close()


def test_a_scan_is_followed_to_its_volumes(page: Page) -> None:
    page.set_input_files("#file", PHANTOM)
    page.get_by_role("button", name="Analyse").click()
    page.locator("#volumes tr").first.wait_for(timeout=_WITHIN)
    picture = ROOT / "build" / "knee.png"
    picture.parent.mkdir(exist_ok=True)
    page.screenshot(path=picture)
    assert page.locator("#volumes tr").count() == 6
    assert "femur" in page.locator("#volumes").inner_text().lower()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the result").click()
    assert download.value.suggested_filename.endswith(".zip")


def test_the_address_leads_back_to_the_job(page: Page) -> None:
    page.set_input_files("#file", PHANTOM)
    page.get_by_role("button", name="Analyse").click()
    page.locator("#volumes tr").first.wait_for(timeout=_WITHIN)
    before = page.locator("#volumes").inner_text()
    page.reload()
    page.locator("#volumes tr").first.wait_for(timeout=_WITHIN)
    assert page.locator("#volumes").inner_text() == before


def test_a_file_that_is_no_scan_is_told_on_the_page(page: Page, tmp_path: Path) -> None:
    wrong = tmp_path / "scan.nii"
    wrong.write_bytes(b"no scan at all")
    page.set_input_files("#file", wrong)
    page.get_by_role("button", name="Analyse").click()
    page.locator("#problem").wait_for(state="visible", timeout=30_000)
    assert page.locator("#problem").inner_text().strip()


def test_the_form_offers_what_the_stack_file_declares(site: Site, page: Page) -> None:
    page.locator("#models select").wait_for()
    offered = page.request.get(f"{site.url}/models").json()
    assert page.locator("#models option").count() == len(offered["segmentation_models"])
    shown = {name for name, option in offered["pipelines"][0]["options"].items() if not option["recorded"]}
    fields = page.locator("#upload [name]").evaluate_all("found => found.map((each) => each.name)")
    assert set(fields) == shown | {"file", "email", "retain_results"}


def test_a_job_is_cancelled(site: Site, page: Page) -> None:
    with site.jobs_held():
        page.set_input_files("#file", PHANTOM)
        page.get_by_role("button", name="Analyse").click()
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel this job").click(timeout=_WITHIN)
        page.get_by_role("heading", name="Cancelled").wait_for(timeout=30_000)


def test_the_api_is_shown_and_loads_nothing_that_the_policy_forbids(page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.get_by_role("link", name="the API").click()
    page.locator(".opblock-post", has_text="/upload").wait_for(timeout=20_000)
    assert said == []
