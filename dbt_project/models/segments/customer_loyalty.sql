-- M-06: loyalty as guide 002 sorts it, purchase behaviour, and Dick and Basu's grid of attitude by behaviour. Who has
-- never answered has an unknown attitude, never a bad one.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

judged as (
    select
        lifecycle.*,
        facts.quarters_365,
        facts.gaps_n,
        facts.gaps_sum,
        facts.gaps_square_sum,
        attitudes.latest_nps,
        attitudes.nps_answered_on,
        attitudes.is_csat_top_box,
        case
            when lifecycle.purchase_days_n = 0 then 'never_bought'
            when lifecycle.stage = 'churned' then 'churned'
            when lifecycle.stage = 'declining' then 'declining'
            when lifecycle.f365 < policy.loyalty_frequency_min then 'too_few_purchases'
            when facts.quarters_365 < policy.loyalty_quarters_min then 'one_quarter'
            when lifecycle.recency_days > policy.loyalty_recency_factor * lifecycle.expected_gap then 'overdue'
            else 'repeats'
        end as repeat_reason,
        coalesce(attitudes.latest_nps <= policy.nps_detractor_max, false) as is_detractor,
        case
            when attitudes.customer_key is null then null
            else coalesce(attitudes.latest_nps >= policy.nps_promoter_min, false)
                or coalesce(attitudes.is_csat_top_box, false)
        end as has_high_attitude
    from {{ ref('customer_lifecycle') }} as lifecycle
    inner join {{ ref('int_customer_facts') }} as facts using (customer_key)
    left join {{ ref('int_customer_attitudes') }} as attitudes using (customer_key)
    cross join policy
)

select
    judged.customer_key,
    judged.as_of_date,
    case
        when judged.stage = 'churned' then 'churned'
        when judged.repeat_reason = 'repeats' and not judged.is_detractor then 'loyal'
        else 'potential'
    end as loyalty_class,
    case
        when judged.purchase_days_n = 0 then 'potential'
        when judged.stage = 'churned' then 'lapsed'
        when judged.repeat_reason = 'repeats' and not judged.is_detractor then 'loyal'
        else 'unstable'
    end as behaviour_class,
    case
        when judged.has_high_attitude is null then 'attitude_unknown'
        when judged.has_high_attitude and judged.repeat_reason = 'repeats' then 'true'
        when judged.has_high_attitude then 'latent'
        when judged.repeat_reason = 'repeats' then 'spurious'
        else 'none'
    end as attitude_class,
    case when judged.repeat_reason = 'repeats' and judged.is_detractor then 'detractor' else judged.repeat_reason end
        as loyalty_reason,
    judged.purchase_days_n > 0 as is_purchaser,
    judged.f365,
    judged.quarters_365 as repeat_quarters,
    judged.recency_days,
    judged.expected_gap,
    -- From whole-number sums, so that the order of rows cannot show.
    case
        when judged.gaps_n >= 2 then round(
            sqrt(cast(judged.gaps_n * judged.gaps_square_sum - judged.gaps_sum * judged.gaps_sum as double)
                / (judged.gaps_n * (judged.gaps_n - 1))) / (cast(judged.gaps_sum as double) / judged.gaps_n), 8)
    end as gap_cv,
    judged.latest_nps,
    judged.nps_answered_on,
    round({{ rate('prices.category_amount', 'prices.category_mean_amount') }}, 8) as price_premium_index,
    judged.policy_version
from judged
left join {{ ref('int_customer_prices') }} as prices using (customer_key)
