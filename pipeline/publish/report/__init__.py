"""The page of a release: tables + manifest -> one self-contained bilingual HTML document."""

from pipeline.publish.report.page import PAGE_TABLES, render_page
from pipeline.publish.report.segments import CLASS_FACTS

__all__ = ["CLASS_FACTS", "PAGE_TABLES", "render_page"]
