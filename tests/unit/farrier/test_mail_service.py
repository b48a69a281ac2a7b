"""The service `mail`, as docs/how-to/privacy.md shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from app.core.mail import read_mail_settings
from farrier.render import release_files

ROOT = Path(__file__).parents[3]


def documented() -> dict[str, Any]:
    text = (ROOT / "docs/how-to/privacy.md").read_text()
    (block,) = [each for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "mail:" in each]
    return dict(yaml.safe_load(block))


def test_the_documented_service_has_what_the_program_needs_and_nobody_else_its_password(
    repository: Any, jobs: str
) -> None:
    stack = yaml.safe_load(jobs)
    shown = documented()
    repository.stack("knee", yaml.safe_dump(stack | shown | {"services": stack["services"] | shown["services"]}))
    plan = repository.plan("knee", farrier_secrets={"knee": {"smtp-password": "secret"}}, farrier_https_port=8443)
    (made,) = plan.stacks
    units = release_files(made, ROOT / "systemd")
    assert [name for name, text in units.items() if "smtp-password:" in text] == ["units/knee-mail.service"]
    assert "IPAddressDeny" not in units["units/knee-mail.service"]
    assert "FARRIER_MAIL_TIMER=knee-mail.timer" in units["units/knee-web.service"]
    environment = next(unit.context["environment"] for unit in made.units if unit.file == "knee-mail.service")
    settings = read_mail_settings({**environment, "FARRIER_SMTP_USER": ""})
    assert (settings.host, settings.public_url) == ("mail.example.org", "https://192.0.2.1:8443/jobs")
