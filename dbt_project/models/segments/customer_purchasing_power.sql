-- S2-05, C-09: what is spent and what income was declared stand apart, each in its own scheme, and neither is told from
-- the other. Declared income is unknown where no source states it.
select
    rfm.customer_key,
    rfm.as_of_date,
    case
        when rfm.m_score is null then 'no_purchase_in_window'
        when rfm.m_score >= policy.tier_high_score_min then 'high'
        when rfm.m_score >= policy.tier_mid_score_min then 'mid'
        else 'low'
    end as spend_tier,
    rfm.monetary,
    rfm.m_score,
    rfm.is_monetary_not_positive,
    rfm.scoring_mode,
    rfm.no_purchase_reason as unclassified_reason,
    declared.income_tier,
    declared.income_reason,
    declared.income_observed_at,
    rfm.policy_version
from {{ ref('customer_rfm') }} as rfm
cross join {{ ref('int_run_policy') }} as policy
inner join {{ ref('int_customer_declared') }} as declared using (customer_key)
