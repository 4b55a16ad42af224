-- The cut points in force on D (M-01).
with policy as (
    select * from {{ ref('int_run_policy') }}
),

buyers as (
    select 'refresh' as basis, -recency_days as recency, frequency_days as frequency, monetary
    from {{ ref('int_buyers_at_refresh') }}
    union all
    select 'as_of' as basis, -recency_days as recency, frequency_rfm as frequency, monetary_rfm as monetary
    from {{ ref('int_customer_facts') }}
    where frequency_rfm > 0
),
{{ rfm_cut_points() }}
