{{ config(meta={'dagster': {'ref': {'name': 'int_identity_quality'}}, 'description': "More records than one person has share an identifier, or hang together (Q-08 duplicate persons). They were not merged; say with `strata identity reject ITEM` that the phone or mailbox is of many, or list it in identity_placeholders.csv."}) }}
select *
from {{ ref('int_identity_quality') }}
where oversized_unreviewed_n > 0
