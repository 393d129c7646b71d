"""Whether this machine can do what fastsketch does, and how fast."""

from __future__ import annotations

from fastsketch.doctor.examine import Report as Report
from fastsketch.doctor.examine import examine as examine
