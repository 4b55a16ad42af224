-- M-03. Rank cut on contribution profit; a tied group takes the class of its worst member. The classical cumulative
-- cut stands beside it.
with facts as (
    select
        *,
        frequency_abc > 0 and profit_abc is not null as is_classified
    from {{ ref('int_customer_facts') }}
),

totals as (
    select
        count(*) filter (where is_classified) as n,
        sum(greatest(profit_abc, 0)) filter (where is_classified) as positive_profit,
        coalesce(bool_or(has_better_than_default) filter (where is_classified), false) as has_real_profit
    from facts
),

-- Each profit once, however many customers have it: sums and joins of amounts are cheaper than those of customers.
profits as (
    select profit_abc, count(*) as customers_n from facts
    where is_classified
    group by profit_abc
),

ranked as (
    select
        profit_abc,
        sum(customers_n) over best_first as worst_rank,
        sum(greatest(profit_abc, 0) * customers_n) over best_first as cumulative_profit
    from profits
    window best_first as (order by profit_abc desc nulls last rows between unbounded preceding and current row)
),

-- The profits at which A and B end, so that a class is a comparison and can be asked for any other profit.
cuts as (
    select
        min(profit_abc) filter (where worst_rank <= ceil(policy.abc_a_share * totals.n)) as cut_a,
        min(profit_abc) filter (where worst_rank <= ceil(policy.abc_b_share * totals.n)) as cut_b
    from ranked
    cross join totals
    cross join {{ ref('int_run_policy') }} as policy
),

classed as (
    select
        ranked.profit_abc,
        ranked.worst_rank,
        {{ rate('ranked.cumulative_profit', 'totals.positive_profit') }} as cum_profit_share,
        -- The share reached before this customer, were it the last of its tied group.
        case
            when ranked.profit_abc <= 0 then 'C'
            when ranked.cumulative_profit - ranked.profit_abc
                < policy.abc_cumulative_a_share * totals.positive_profit then 'A'
            when ranked.cumulative_profit - ranked.profit_abc
                < policy.abc_cumulative_b_share * totals.positive_profit then 'B'
            else 'C'
        end as abc_cum_class
    from ranked
    cross join totals
    cross join {{ ref('int_run_policy') }} as policy
)

select
    facts.customer_key,
    facts.as_of_date,
    facts.profit_abc as profit_365,
    facts.revenue_abc as revenue_365,
    cast(classed.worst_rank as bigint) as worst_rank,
    cast(totals.n as bigint) as n,
    {{ abc_class('facts.frequency_abc', 'facts.profit_abc', 'cuts.cut_a', 'cuts.cut_b') }} as abc_class,
    classed.cum_profit_share,
    classed.abc_cum_class,
    coalesce(facts.is_classified and facts.profit_abc <= 0, false) as is_unprofitable,
    facts.profit_is_estimated,
    case when totals.has_real_profit then 'profit' else 'revenue' end as abc_basis,
    case
        when facts.frequency_abc = 0 and facts.purchase_days_n = 0 then 'never_bought'
        when facts.frequency_abc = 0 then 'no_purchase_in_window'
        when facts.profit_abc is null then 'profit_unknown'
    end as unclassified_reason,
    facts.policy_version
from facts
cross join totals
cross join cuts
left join classed on {{ key_where('facts.is_classified', 'facts.profit_abc') }} = classed.profit_abc
