{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "Orders or returns are in a currency that has no rate on their day (Q-07): they are set aside and count nowhere. Deliver the rates as feed fx, or add a row to seeds/policy/exchange_rates.csv, and run again."}) }}
with {{ unrated_rows() }}

select
    source, feed, currency, count(*) as rows_n, {{ money('sum(amount)') }} as amount,
    min(day) as first_day, max(day) as last_day
from unrated_feeds
where is_unrated
group by source, feed, currency
order by rows_n desc, source, feed, currency
