"""Compares the pins of a requirements file with the advisories on PyPI; says plainly if these cannot be had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

NOT_AUDITED, VULNERABLE = 2, 1


def audit(requirements: Path) -> tuple[int, str]:
    """An exit code, and what was found; a pin without an answer is not audited."""
    program = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(
        [*program, "--format", "json", "-r", str(requirements)], capture_output=True, text=True, check=False
    )
    return verdict(done.stdout, done.stderr)


def verdict(output: str, errors: str) -> tuple[int, str]:
    """The same from what pip-audit writes."""
    try:
        found = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        reason = (errors.strip().splitlines() or ["pip-audit gave no answer"])[-1]
        return NOT_AUDITED, f"Nothing was audited, as no database of advisories can be had here. {reason}"
    skipped = [each["name"] for each in found if "skip_reason" in each]
    if len(skipped) == len(found):
        return (
            NOT_AUDITED,
            "Nothing was audited: the package index here has no advisories. Run this where pypi.org answers.",
        )
    lines = [
        f"{each['name']} {each['version']}: {advisory['id']}, fixed in {', '.join(advisory['fix_versions']) or 'none'}"
        for each in found
        for advisory in each.get("vulns", ())
    ]
    lines.append(f"{len(found) - len(skipped)} of {len(found)} pins were audited, with {len(lines)} advisories.")
    lines += [f"Not audited: {', '.join(skipped)}"] if skipped else []
    return VULNERABLE if len(lines) > 1 + bool(skipped) else NOT_AUDITED if skipped else 0, "\n".join(lines)


if __name__ == "__main__":
    code, text = audit(Path(sys.argv[1]))
    print(text)
    sys.exit(code)
