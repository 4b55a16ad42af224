{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "Orders, returns or advertising costs are in a currency that has no rate on their day (Q-07): they are set aside and count nowhere. Deliver the rates as feed fx, or add a row to seeds/policy/exchange_rates.csv, and run again."}) }}
with {{ unrated_rows() }},

unrated as (
    select source, feed, currency, day, amount from unrated_feeds
    where is_unrated
    union all
    select ad_spend.source, 'ad_spend' as feed, ad_spend.currency, ad_spend.spend_date as day, ad_spend.spend as amount
    from {{ ref('int_ad_spend') }} as ad_spend
    inner join {{ ref('int_run_policy') }} as policy on ad_spend.spend_date < policy.as_of_date
    where ad_spend.exchange_rate is null
)

select
    source, feed, currency, count(*) as rows_n, {{ money('sum(amount)') }} as amount,
    min(day) as first_day, max(day) as last_day
from unrated
group by source, feed, currency
order by rows_n desc, source, feed, currency
