"""A small home: a shop and a CRM, swept and linked, without a build."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.settings import Settings

D = date(2024, 5, 7)
Land = Callable[[str, bytes | str], Path]
CUSTOMERS = (
    "source_customer_id,name,phone,email,birth_date,city,registered_at,updated_at\n"
    "A1,王芳,13812345678,wang@example.com,1990-01-31,上海,2021-02-03 10:00:00,2024-05-01 10:00:00\n"
    "A2,李静,13912345678,,,杭州,2021-02-03 10:00:00,2024-05-01 10:00:00\n"
)


def take_in(settings: Settings, as_of: date = D) -> None:
    """Sweep landing and desk, and link, as a run for `as_of` does."""
    sweep(settings, as_of, run_id="test", released=None)
    write_links(settings, [as_of])


@pytest.fixture
def shop(settings: Settings, land: Land) -> Settings:
    land("shop/customers/2024-05-06.csv", CUSTOMERS)
    land(
        "club/customers/2024-05-06.csv",
        "source_customer_id,name,phone\nC1,王芳,13812345678\n",
    )
    land(
        "shop/orders/2024-05-06.csv",
        "order_id,source_customer_id,channel_id,ordered_at,paid_at,status\n"
        "O1,A1,web,2024-05-06 09:00:00,2024-05-06 09:01:00,paid\n"
        "O2,A2,web,2024-05-06 09:00:00,2024-05-06 09:01:00,paid\n",
    )
    land(
        "shop/order_lines/2024-05-06.csv",
        "order_id,line_no,product_id,qty,unit_price_paid\nO1,1,eggs,2,9.5\nO2,1,milk,1,7\n",
    )
    take_in(settings)
    return settings
