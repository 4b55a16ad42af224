-- Loyalty, behaviour, frequency, power, channel and price sensitivity: each class with the code of what decided it and
-- the figures, as text, that its sentence shows. A sentence that counts purchase days says of how many days.
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
cross join (select lifecycle_year_window_days from {{ ref('int_run_policy') }}) as policy

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
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_frequency') }}

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
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_purchasing_power') }}

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
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_channel') }}

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
cross join (select lifecycle_year_window_days from {{ ref('int_run_policy') }}) as policy
