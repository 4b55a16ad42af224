-- Loyalty, behaviour, frequency, power, channel, price sensitivity, affinity and what the next twelve months may bring: each
-- class with the code of what decided it and the figures, as text, that its sentence shows. A sentence that counts says of
-- how many days.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

-- The smallest values that are high and mid today.
clv_cuts as (
    select
        min(case when clv_tier = 'high' then clv_12m end) as high_from,
        min(case when clv_tier in ('high', 'mid') then clv_12m end) as mid_from
    from {{ ref('customer_value') }}
)

{% set loyalties = [('loyalty', 'loyalty_class'), ('behaviour', 'behaviour_class')] %}
{% for scheme, class in loyalties -%}
select
    customer_key,
    '{{ scheme }}' as scheme,
    {{ class }} as class,
    false as is_inferred,
    loyalty_reason as reason_code,
    cast(recency_days as varchar) as value_1,
    cast(f365 as varchar) as value_2,
    cast(repeat_quarters as varchar) as value_3,
    cast(
        case when loyalty_reason = 'overdue' then cast(round(expected_gap) as integer) else policy.lifecycle_year_window_days end
        as varchar
    ) as value_4,
    cast(latest_nps as varchar) as value_5
from {{ ref('customer_loyalty') }}
cross join policy

union all

{% endfor -%}
select
    customer_key,
    'frequency' as scheme,
    frequency_class as class,
    false as is_inferred,
    case
        when unclassified_reason = 'never_bought' then 'never_bought'
        when unclassified_reason is not null then 'lapsed'
        when frequency_days = 1 then 'once'
        else 'scored'
    end as reason_code,
    case when unclassified_reason is null then cast(frequency_days as varchar) end as value_1,
    cast(f_score as varchar) as value_2,
    cast(policy.rfm_window_days as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_frequency') }}
cross join policy

union all

select
    customer_key,
    'power' as scheme,
    spend_tier as class,
    false as is_inferred,
    case
        when unclassified_reason = 'never_bought' then 'never_bought'
        when unclassified_reason is not null then 'lapsed'
        when is_monetary_not_positive then 'returned'
        else 'scored'
    end as reason_code,
    case when unclassified_reason is null then {{ money_text('monetary') }} end as value_1,
    cast(m_score as varchar) as value_2,
    cast(policy.rfm_window_days as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_purchasing_power') }}
cross join policy

union all

select
    customer_key,
    'channel' as scheme,
    channel_class as class,
    false as is_inferred,
    coalesce(unclassified_reason, case when has_direct_sales then 'direct_sales' else 'orders' end) as reason_code,
    case when orders_n > 0 then cast(orders_n as varchar) end as value_1,
    case when orders_n > 0 then cast(online_orders_n as varchar) end as value_2,
    case when orders_n > 0 then cast(offline_orders_n as varchar) end as value_3,
    cast(policy.behaviour_window_days as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_channel') }}
cross join policy

union all

select
    customer_key,
    'price_sensitivity' as scheme,
    price_sensitivity_class as class,
    is_inferred,
    price_sensitivity_reason as reason_code,
    cast(purchase_days_365 as varchar) as value_1,
    {{ percent_text('promo_share') }} as value_2,
    {{ percent_text('promo_depth') }} as value_3,
    {{ percent_text('usual_depth') }} as value_4,
    cast(policy.lifecycle_year_window_days as varchar) as value_5
from {{ ref('customer_price_sensitivity') }}
cross join policy

union all

select
    customer_key,
    'affinity' as scheme,
    affinity_class as class,
    is_inferred,
    coalesce(unclassified_reason, case when next_category is null then 'leans' else 'leans_next' end) as reason_code,
    case when top_category is null then cast(categories_n as varchar) else top_category end as value_1,
    {{ percent_text('top_category_share') }} as value_2,
    cast(cast(round(top_affinity_index, 1) as decimal(9, 1)) as varchar) as value_3,
    cast(policy.affinity_window_days as varchar) as value_4,
    next_category as value_5
from {{ ref('customer_affinity') }}
cross join policy

union all

select
    clv.customer_key,
    'clv' as scheme,
    value.clv_tier as class,
    true as is_inferred,
    coalesce(
        clv.unclassified_reason, case when clv.clv_12m <= 0 and clv.profit_per_order <= 0 then 'loss' else clv.method end
    ) as reason_code,
    {{ money_text('clv.clv_12m') }} as value_1,
    cast(cast(round(clv.expected_orders_12m, 1) as decimal(9, 1)) as varchar) as value_2,
    {{ money_text('clv.profit_per_order') }} as value_3,
    coalesce({{ money_text('clv_cuts.high_from') }}, '–') || ' | ' || coalesce({{ money_text('clv_cuts.mid_from') }}, '–')
        as value_4,
    cast(policy.clv_horizon_days as varchar) as value_5
from {{ ref('customer_clv') }} as clv
inner join {{ ref('customer_value') }} as value using (customer_key)
cross join clv_cuts
cross join policy
