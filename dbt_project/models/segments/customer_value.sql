-- M-04: the ABC ranking in its second vocabulary, with the customer's share of revenue and the potential of mid and low.
with totals as (
    select sum(revenue_365) as revenue from {{ ref('customer_abc') }}
),

grown as (
    select
        facts.customer_key,
        facts.m_prev180 > 0 and facts.m180 > (1 + policy.value_growth_min) * facts.m_prev180 as has_grown
    from {{ ref('int_customer_facts') }} as facts
    cross join {{ ref('int_run_policy') }} as policy
),

tiered as (
    select
        abc.*,
        {{ value_tier('abc.abc_class') }} as value_tier,
        grown.has_grown and abc.abc_class in ('B', 'C') as potential_flag
    from {{ ref('customer_abc') }} as abc
    inner join grown using (customer_key)
)

select
    tiered.customer_key,
    tiered.as_of_date,
    tiered.value_tier,
    {{ rate('tiered.revenue_365', 'totals.revenue') }} as revenue_share,
    tiered.potential_flag,
    case when tiered.potential_flag then 'spend_growth' end as potential_reasons,
    tiered.is_unprofitable,
    tiered.unclassified_reason,
    tiered.policy_version
from tiered
cross join totals
