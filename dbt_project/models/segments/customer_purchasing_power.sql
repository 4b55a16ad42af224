-- S2-05, C-09: what is spent and what income was declared stand apart, each in its own scheme, and neither is told from
-- the other.
select
    rfm.customer_key,
    rfm.as_of_date,
    {{ score_tier('rfm.m_score') }} as spend_tier,
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
