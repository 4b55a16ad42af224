-- M-09: what a customer has brought and what the next twelve months may bring, by a formula that anybody can redo:
-- horizon / expected gap purchases, times the share of people of the same stage and recency who came back, times the own
-- mean profit of a purchase. The second half of the horizon is worth less than the first: discounted from its middle.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

histories as (
    select
        lifecycle.customer_key,
        lifecycle.as_of_date,
        lifecycle.policy_version,
        lifecycle.stage,
        lifecycle.purchase_days_n,
        lifecycle.expected_gap,
        facts.profit_ever,
        facts.is_profit_ever_estimated,
        {{ recency_bucket('lifecycle.recency_days', 'policy') }} as recency_bucket
    from {{ ref('customer_lifecycle') }} as lifecycle
    inner join {{ ref('int_customer_facts') }} as facts using (customer_key)
    cross join policy
),

expected as (
    select
        histories.*,
        rates.return_rate,
        round(policy.clv_horizon_days / histories.expected_gap * rates.return_rate, 8) as expected_orders,
        {{ money_share('histories.profit_ever', '1', 'histories.purchase_days_n') }} as profit_per_order,
        power(1 + cast(policy.clv_discount_rate as double), -policy.clv_horizon_days / 730.0) as discount
    from histories
    left join {{ ref('int_return_rates') }} as rates
        on histories.purchase_days_n > 0
        and histories.stage = rates.stage and histories.recency_bucket = rates.recency_bucket
    cross join policy
)

select
    expected.customer_key,
    expected.as_of_date,
    case when expected.purchase_days_n > 0 then expected.profit_ever end as historic_profit,
    case when expected.purchase_days_n > 0 then expected.expected_orders end as expected_orders_12m,
    case when expected.purchase_days_n > 0 then expected.return_rate end as p_active,
    case when expected.purchase_days_n > 0 then expected.profit_per_order end as profit_per_order,
    -- A loss of the past is no forecast of a loss.
    case
        when expected.purchase_days_n > 0 and expected.profit_ever is not null
            then {{ money('round(expected.expected_orders * cast(greatest(expected.profit_per_order, 0) as double)'
                ~ ' * expected.discount, 2)') }}
    end as clv_12m,
    case
        when expected.purchase_days_n > 0 and expected.profit_ever is not null and expected.return_rate is not null
            then 'formula'
    end as method,
    expected.is_profit_ever_estimated as profit_is_estimated,
    case
        when expected.purchase_days_n = 0 then 'never_bought'
        when expected.profit_ever is null then 'profit_unknown'
        when expected.return_rate is null then 'no_history'
    end as unclassified_reason,
    expected.policy_version
from expected
