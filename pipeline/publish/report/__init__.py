"""The page of a release: tables + manifest -> one self-contained bilingual HTML document."""

from pipeline.publish.report.distribution import PROFIT_STEPS
from pipeline.publish.report.page import PAGE_TABLES, render_page
from pipeline.publish.report.release import PEOPLE
from pipeline.publish.report.segments import CLASS_FACTS

__all__ = ["CLASS_FACTS", "PAGE_TABLES", "PEOPLE", "PROFIT_STEPS", "render_page"]
