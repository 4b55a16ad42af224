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
    coalesce(declared.income_tier, 'unknown') as income_tier,
    coalesce(declared.income_reason, case when coverage.states_income then 'not_stated' else 'not_collected' end)
        as income_reason,
    declared.income_observed_at,
    rfm.policy_version
from {{ ref('customer_rfm') }} as rfm
cross join {{ ref('int_run_policy') }} as policy
cross join {{ ref('int_declared_coverage') }} as coverage
left join (
    select customer_key, income_tier, income_reason, income_observed_at from {{ ref('int_customer_declared') }}
    where income_observed_at is not null
) as declared on rfm.customer_key = declared.customer_key
