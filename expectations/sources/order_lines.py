"""May the order lines come in? Judged on one profile row per delivery."""

from pipeline.quality.measures import Measures
from pipeline.quality.policy import largest
from pipeline.quality.suites import Expect, Suite

SUITE = Suite(
    "order_lines",
    (
        Expect(
            "quantities_plausible",
            "ExpectColumnValuesToBeBetween",
            {"column": "qty__max", "max_value": largest("quantity_plausible_max")},
            "A quantity above a million is a barcode or an id in the wrong column.\n\n"
            "Mend the export and deliver the file again under the same name.",
            gate="Q-04",
        ),
        Expect(
            "prices_plausible",
            "ExpectColumnValuesToBeBetween",
            {"column": "unit_price_paid__max", "max_value": largest("amount_plausible_max")},
            "A unit price above ten million is a total, or a currency written without its decimals.\n\n"
            "Mend the export and deliver the file again under the same name.",
            gate="Q-04",
        ),
        Expect(
            "list_prices_present",
            "ExpectColumnValuesToBeBetween",
            {"column": "list_price_share", "min_value": 0.5, "mostly": 0.95},
            "A source that usually gives list prices left them out, so discounts cannot be told from prices.",
            level="warn",
            gate="Q-03",
        ),
    ),
    Measures(amount="cast(qty as double) * cast(unit_price_paid as double)"),
)
