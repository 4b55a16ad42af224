-- P-07: tiers of the frequency score, no second cut. A single purchase day is low whatever it scores.
select
    rfm.customer_key,
    rfm.as_of_date,
    case
        when rfm.f_score is null then 'no_purchase_in_window'
        when rfm.frequency_days = 1 then 'low'
        when rfm.f_score >= policy.tier_high_score_min then 'high'
        when rfm.f_score >= policy.tier_mid_score_min then 'mid'
        else 'low'
    end as frequency_class,
    rfm.frequency_days,
    rfm.f_score,
    rfm.scoring_mode,
    rfm.no_purchase_reason as unclassified_reason,
    rfm.policy_version
from {{ ref('customer_rfm') }} as rfm
cross join {{ ref('int_run_policy') }} as policy
