"""The page of a release: tables + manifest -> one self-contained bilingual HTML document."""

from pipeline.publish.report.page import PAGE_TABLES, render_page

__all__ = ["PAGE_TABLES", "render_page"]
