"""Where an order, or one delivered record, came from and where it went, from delivery to segment."""

from pipeline.trace.orders import trace_order
from pipeline.trace.records import trace_record
from pipeline.trace.text import told

__all__ = ["told", "trace_order", "trace_record"]
