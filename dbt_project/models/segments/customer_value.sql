-- M-04: the ABC ranking in its second vocabulary, with the customer's share of revenue, the potential of mid and low, and
-- apart from it the tier of what the next twelve months may bring (M-09), cut at the same shares of customers. Potential is
-- growth or a wish to buy (S2-16); what people spend elsewhere no feed tells, so the share of wallet is no sign here.
with totals as (
    select sum(revenue_365) as revenue from {{ ref('customer_abc') }}
),

-- Those alone who show a sign: joined by everybody they would cost half of this model.
grown as (
    select facts.customer_key
    from {{ ref('int_customer_facts') }} as facts
    inner join {{ ref('int_run_policy') }} as policy
        on facts.m_prev180 > 0 and facts.m180 > (1 + policy.value_growth_min) * facts.m_prev180
),

willing as (
    select customer_key from {{ ref('customer_willingness') }}
    where willingness = 'active'
),

-- The smallest values that still are high and mid: values alone are sorted, not customers.
looked_ahead as (
    select clv_12m, sum(count(*)) over (order by clv_12m desc) as worst_rank
    from {{ ref('customer_clv') }}
    where clv_12m is not null
    group by clv_12m
),

cuts as (
    select
        min(case when worst_rank <= ceil(policy.abc_a_share * valued.n) then clv_12m end) as high_from,
        min(case when worst_rank <= ceil(policy.abc_b_share * valued.n) then clv_12m end) as mid_from
    from looked_ahead
    cross join {{ ref('int_run_policy') }} as policy
    cross join (select max(worst_rank) as n from looked_ahead) as valued
),

tiered as (
    select
        abc.*,
        clv.clv_12m,
        {{ clv_tier('clv.clv_12m', 'cuts.high_from', 'cuts.mid_from') }} as clv_tier,
        {{ value_tier('abc.abc_class') }} as value_tier,
        case
            when abc.abc_class in ('B', 'C') and coalesce(grown.customer_key, willing.customer_key) is not null then concat_ws(
                '|',
                case when grown.customer_key is not null then 'spend_growth' end,
                case when willing.customer_key is not null then 'high_intent' end
            )
        end as potential_reasons
    from {{ ref('customer_abc') }} as abc
    cross join {{ ref('int_run_policy') }} as policy
    cross join cuts
    left join grown on abc.customer_key = grown.customer_key
    left join willing on abc.customer_key = willing.customer_key
    left join (
        select customer_key, clv_12m from {{ ref('customer_clv') }}
        where clv_12m is not null
    ) as clv on abc.customer_key = clv.customer_key
)

select
    tiered.customer_key,
    tiered.as_of_date,
    tiered.value_tier,
    {{ rate('tiered.revenue_365', 'totals.revenue') }} as revenue_share,
    tiered.clv_12m,
    tiered.clv_tier,
    tiered.potential_reasons is not null as potential_flag,
    tiered.potential_reasons,
    tiered.is_unprofitable,
    tiered.unclassified_reason,
    tiered.policy_version
from tiered
cross join totals
