-- Advertising of a day in its last delivered state, with its cost in the reporting currency: none where the day has no rate.
with ranked as (
    select
        *,
        row_number() over (
            partition by source, channel_id, campaign_code, keyword, spend_date
            order by dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_marketing__ad_spend') }}
),

rated as (
    select
        ranked.*,
        cast(case when ranked.currency = policy.reporting_currency then 1 else rates.rate end as decimal(18, 8))
            as exchange_rate
    from ranked
    cross join {{ ref('int_run_policy') }} as policy
    left join {{ ref('int_exchange_rates') }} as rates
        on {{ key_where('ranked.currency <> policy.reporting_currency', 'ranked.currency') }} = rates.currency
        and ranked.spend_date = rates.day
    where ranked.nth = 1
)

select
    source, channel_id, campaign_code, keyword, currency, exchange_rate, impressions, clicks, spend,
    {{ converted('spend', 'exchange_rate') }} as cost,
    spend_date
from rated
