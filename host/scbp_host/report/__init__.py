"""What a run found, as ``summary.json`` for machines and ``report.html`` for people."""

from scbp_host.report.files import read_summary, write_summary
from scbp_host.report.html import write_html
from scbp_host.report.summary import SCHEMA_VERSION, Summary

__all__ = ["SCHEMA_VERSION", "Summary", "read_summary", "write_html", "write_summary"]
