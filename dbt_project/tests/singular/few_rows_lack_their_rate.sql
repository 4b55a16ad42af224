{{ config(meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "Too much of a source is in a currency without a rate (Q-07): revenue and every class built on it would be too low. Deliver the rates as feed fx, or add a row to seeds/policy/exchange_rates.csv, and run again."}) }}
-- Of the last days, in which a day that is lost shows, and of the window that classes look at.
with {{ unrated_rows() }},

counted as (
    select
        rows_of_source.source,
        rows_of_source.feed,
        min(case when rows_of_source.is_unrated then rows_of_source.currency end) as currency,
        count(*) filter (where rows_of_source.day >= policy.unrated_start) as recent_n,
        count(*) filter (where rows_of_source.day >= policy.unrated_start and rows_of_source.is_unrated)
            as recent_unrated_n,
        count(*) filter (where rows_of_source.day >= policy.rfm_window_start) as in_window_n,
        count(*) filter (where rows_of_source.day >= policy.rfm_window_start and rows_of_source.is_unrated)
            as in_window_unrated_n
    from unrated_feeds as rows_of_source
    cross join {{ ref('int_run_policy') }} as policy
    group by rows_of_source.source, rows_of_source.feed
)

select
    counted.source, counted.feed, counted.currency, counted.recent_unrated_n, counted.recent_n,
    counted.in_window_unrated_n, counted.in_window_n
from counted
cross join {{ ref('int_run_policy') }} as policy
where
    counted.recent_unrated_n > greatest(policy.unrated_rows_min, policy.unrated_share_max * counted.recent_n)
    or counted.in_window_unrated_n > greatest(policy.unrated_rows_min, policy.unrated_share_max * counted.in_window_n)
