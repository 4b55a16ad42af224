-- "20 % bring 80 %" is a statement to be tested: what each class makes of the profit.
with ranked as (
    select
        *,
        row_number() over (order by greatest(profit_365, 0), customer_key) as place
    from {{ ref('customer_abc') }}
    where abc_class in ('A', 'B', 'C')
),

totals as (
    select
        count(*) as n,
        sum(profit_365) as profit,
        sum(greatest(profit_365, 0)) as positive_profit,
        -- Gini of positive profits, 0 equal … 1 one customer makes all.
        {{ rate('2 * sum(place * greatest(profit_365, 0)) - (count(*) + 1) * sum(greatest(profit_365, 0))',
                'count(*) * sum(greatest(profit_365, 0))') }} as gini
    from ranked
),

by_class as (
    select
        abc_class,
        count(*) as customers,
        sum(profit_365) as profit,
        sum(greatest(profit_365, 0)) as positive_profit,
        sum(revenue_365) as revenue
    from ranked
    group by abc_class
)

select
    by_class.abc_class,
    policy.as_of_date,
    by_class.customers,
    {{ rate('by_class.customers', 'totals.n') }} as customer_share,
    {{ money('by_class.profit') }} as profit,
    {{ rate('by_class.profit', 'totals.profit') }} as profit_share,
    {{ rate('by_class.positive_profit', 'totals.positive_profit') }} as positive_profit_share,
    {{ money('by_class.revenue') }} as revenue,
    totals.gini,
    policy.policy_version
from by_class
cross join totals
cross join {{ ref('int_run_policy') }} as policy
