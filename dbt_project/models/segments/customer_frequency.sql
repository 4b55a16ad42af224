-- P-07: tiers of the frequency score, no second cut. A single purchase day is low whatever it scores.
select
    rfm.customer_key,
    rfm.as_of_date,
    {{ frequency_tier('rfm.f_score', 'rfm.frequency_days') }} as frequency_class,
    rfm.frequency_days,
    rfm.f_score,
    rfm.scoring_mode,
    rfm.no_purchase_reason as unclassified_reason,
    rfm.policy_version
from {{ ref('customer_rfm') }} as rfm
cross join {{ ref('int_run_policy') }} as policy
