{{ config(meta={'dagster': {'ref': {'name': 'int_customer_links'}}, 'description': "More records than one person has share an identifier, or hang together (Q-08 duplicate persons). They were not merged; say with `strata identity reject ITEM` that the phone or mailbox is of many, or list it in identity_placeholders.csv."}) }}
select *
from {{ source('identity', 'quality') }}
where oversized_unreviewed_n > 0
