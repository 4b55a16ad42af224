"""The page of a release: tables + manifest -> one self-contained bilingual HTML document."""

from pipeline.publish.report.page import CLASS_FACTS, PAGE_TABLES, render_page

__all__ = ["CLASS_FACTS", "PAGE_TABLES", "render_page"]
