-- M-09: what a customer has brought and what the next twelve months may bring, by a formula that anybody can redo:
-- horizon / expected gap purchases, times the share of people of the same stage and recency who came back, times the own
-- mean profit of a purchase.
-- Where the purchase model has beaten the formula and the naive rules on this company's past, its forecast stands instead.
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
        lifecycle.profit_ever,
        lifecycle.is_profit_ever_estimated,
        {{ recency_bucket('lifecycle.recency_days', 'policy') }} as recency_bucket
    from {{ ref('customer_lifecycle') }} as lifecycle
    cross join policy
),

expected as (
    select
        histories.*,
        rates.return_rate,
        {{ expected_orders('histories.expected_gap', 'rates.return_rate') }} as expected_orders,
        {{ money_share('histories.profit_ever', '1', 'histories.purchase_days_n') }} as profit_per_order
    from histories
    left join {{ ref('int_return_rates') }} as rates
        on {{ key_where('histories.purchase_days_n > 0', 'histories.stage') }} = rates.stage
        and histories.recency_bucket = rates.recency_bucket
    cross join policy
),

valued as (
    select
        expected.*,
        {{ formula_clv('expected.purchase_days_n', 'expected.profit_ever', 'expected.expected_orders',
                       'expected.profit_per_order') }} as formula_clv
    from expected
    cross join policy
)

select
    valued.customer_key,
    valued.as_of_date,
    case when valued.purchase_days_n > 0 then valued.profit_ever end as historic_profit,
    case
        when valued.purchase_days_n > 0 then coalesce(forecasts.expected_orders, valued.expected_orders)
    end as expected_orders_12m,
    case when valued.purchase_days_n > 0 then coalesce(forecasts.p_alive, valued.return_rate) end as p_active,
    case when valued.purchase_days_n > 0 then valued.profit_per_order end as profit_per_order,
    coalesce(forecasts.value, valued.formula_clv) as clv_12m,
    case
        when forecasts.value is not null then 'bgnbd'
        when valued.formula_clv is not null then 'formula'
    end as method,
    valued.formula_clv as formula_clv_12m,
    forecasts.value as model_clv_12m,
    forecasts.forecast_as_of as model_as_of,
    valued.is_profit_ever_estimated as profit_is_estimated,
    case
        when coalesce(forecasts.value, valued.formula_clv) is not null then null
        when valued.purchase_days_n = 0 then 'never_bought'
        when valued.profit_ever is null then 'profit_unknown'
        else 'no_history'
    end as unclassified_reason,
    valued.policy_version
from valued
left join {{ ref('int_customer_forecasts') }} as forecasts
    on {{ key_where('valued.purchase_days_n > 0 and valued.profit_ever is not null', 'valued.customer_key') }}
        = forecasts.customer_key
